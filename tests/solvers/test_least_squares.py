"""Ridge regression on a support, and non-negative ridge, against NumPy and SciPy's NNLS."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.solvers.least_squares import nonnegative_ridge, ridge
from oracles import nonnegative_least_squares, random_problem


def test_ridge_equals_numpy():
    problem = random_problem(3, 12, 20, 0.3)
    support = np.arange(12) % 3 != 0
    ours = ridge(
        jnp.asarray(problem.gram, jnp.float32),
        jnp.asarray(problem.correlations, jnp.float32),
        jnp.asarray(support),
        0.3,
    )
    g = problem.gram[np.ix_(support, support)] + 0.3 * np.eye(support.sum())
    expected = np.linalg.solve(g, problem.correlations[support])
    np.testing.assert_allclose(np.asarray(ours)[support], expected, rtol=1e-4)
    assert np.all(np.asarray(ours)[~support] == 0)


@pytest.mark.parametrize("d", [6, 40])
def test_nonnegative_ridge_equals_scipy(d):
    """Independent targets: about half of the weights are zero. d = 6 is below 25 atoms."""
    solve_all = jax.jit(nonnegative_ridge)
    for seed in range(25):
        problem = random_problem(seed, 25, d, 0.1, "independent")
        ours = solve_all(
            jnp.asarray(problem.gram, jnp.float32),
            jnp.asarray(problem.correlations, jnp.float32),
            jnp.ones(25, bool),
            0.1,
        )
        expected = nonnegative_least_squares(problem.atoms, problem.target, 0.1)
        assert 0 < np.sum(expected == 0) < 25
        assert ours.finished
        np.testing.assert_allclose(ours.weights, expected, atol=2e-3 * expected.max())
