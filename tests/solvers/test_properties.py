"""Properties of the pursuit in all its forms, on problems that hypothesis draws.

One shape for all, so that each form compiles once: the same problem at every budget, as a batch.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradmatch_jax.solvers.atoms import dense_atoms
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form, Problem, StopReason
from gradmatch_jax.solvers.pursuit import match
from oracles import random_problem
from plain_omp import plain_omp

N, D, K, PADDED = 16, 5, 8, 4  # the last rows are padding: no atom of the problem
few = settings(derandomize=True, max_examples=8, deadline=None)
problems = st.builds(
    random_problem,
    seed=st.integers(0, 2**32 - 1),
    n=st.just(N - PADDED),
    d=st.just(D),
    lam=st.sampled_from([0.05, 0.5, 5.0]),
    kind=st.sampled_from(["sum", "mixture", "independent"]),
)
forms = pytest.mark.parametrize("form", Form)
signs = pytest.mark.parametrize("nonnegative", [True, False])
# Several weights turn negative at once: another one to leave first, and another support is found.
crowded = random_problem(147, N - PADDED, D, 0.05, "mixture")
SOLVE = jax.jit(match, static_argnums=(1, 3))


def pursue(problem, form, nonnegative, padding=None, order=None, slots=K):
    """Atom to weight, objective and reason of each budget from 1 to K."""
    rows = np.vstack([problem.atoms, np.full((PADDED, D), 9.0) if padding is None else padding])
    free = np.arange(N) < N - PADDED
    order = np.arange(N) if order is None else order
    rows, free = rows[order], free[order]
    batch = Problem(
        jnp.full(K, problem.target @ problem.target, jnp.float32),
        jnp.broadcast_to(jnp.asarray(free), (K, N)),
        jnp.arange(1, K + 1, dtype=jnp.int32),
        jnp.full(K, problem.lam, jnp.float32),
        atoms=jax.tree.map(
            lambda x: jnp.broadcast_to(x, (K, *x.shape)), dense_atoms(jnp.asarray(rows, "float32"))
        ),
        target=jnp.broadcast_to(jnp.asarray(problem.target, jnp.float32)[None, None], (K, 1, D)),
    )
    found = SOLVE(batch, slots, MatchingOptions(nonnegative=nonnegative, eps=0.0), form)
    answers = []
    for positions, weights, reason in zip(*map(np.asarray, found), strict=True):
        size = int(np.sum(positions >= 0))
        assert np.all(positions[size:] == -1)
        assert np.all(weights[size:] == 0)
        support = order[positions[:size]]
        objective = problem.objective(support, weights[:size])
        pairs = zip(support.tolist(), weights[:size].tolist(), strict=True)
        answers.append((dict(pairs), objective, StopReason(reason)))
    return answers


def assert_alike(found, expected, scale=1.0):
    for (weights, _, reason), (others, _, other_reason) in zip(found, expected, strict=True):
        assert reason == other_reason
        assert weights.keys() == others.keys()
        for atom, weight in weights.items():
            assert weight == pytest.approx(scale * others[atom], rel=1e-3, abs=1e-4 * scale)


@pytest.mark.thorough
@forms
@signs
@few
@given(problem=problems)
@example(problem=crowded)
def test_the_dense_float64_oracle_is_found(form, nonnegative, problem):
    found = pursue(problem, form, nonnegative)
    for budget, (weights, objective, _) in enumerate(found, 1):
        expected = plain_omp(problem.atoms, problem.target, budget, problem.lam, nonnegative)
        assert weights.keys() == expected.keys()
        best = problem.objective(list(expected), list(expected.values()))
        assert objective == pytest.approx(best, rel=1e-4, abs=1e-4)
        assert weights == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.thorough
@forms
@signs
@few
@given(problem=problems)
def test_a_larger_budget_is_met_exactly_and_never_worse(form, nonnegative, problem):
    before = float(problem.target @ problem.target)
    for budget, (weights, objective, reason) in enumerate(pursue(problem, form, nonnegative), 1):
        assert objective <= before * (1 + 1e-5)
        assert len(weights) <= budget
        assert (len(weights) == budget) == (reason is StopReason.BUDGET)
        assert all(atom < N - PADDED for atom in weights)
        assert not nonnegative or all(weight > 0 for weight in weights.values())
        before = objective


@pytest.mark.thorough
@forms
@few
@given(problem=problems, order=st.permutations(range(N)), padding=st.floats(-1e3, 1e3, width=32))
def test_the_order_of_the_atoms_and_the_padding_are_nothing(form, problem, order, padding):
    solve = partial(pursue, problem, form, True)
    found = solve(order=np.array(order), padding=np.full((PADDED, D), padding))
    assert_alike(found, solve())


@pytest.mark.thorough
@forms
@few
@given(
    problem=problems, atoms=st.sampled_from([0.03, 0.5, 7.0]), target=st.sampled_from([0.1, 3.0])
)
def test_scales_go_through(form, problem, atoms, target):
    """Atoms times a, target times b and lam times a²: the same atoms, weights times b / a."""
    scaled = problem._replace(
        atoms=atoms * problem.atoms, target=target * problem.target, lam=atoms**2 * problem.lam
    )
    found = pursue(scaled, form, True)
    assert_alike(found, pursue(problem, form, True), scale=target / atoms)
