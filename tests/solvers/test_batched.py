"""The products and factors that every form shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.solvers.batched import inverse_of


@pytest.mark.parametrize("least", [1e-4, 1e-6, 0.0, -1e-7, -1e-5])
def test_corrections_converge_where_rounding_has_eaten_lam(least):
    """lam I + A' A of least eigenvalue lam = 1e-4, but for rounding, which left `least` of it."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    values = np.geomspace(1.0, 1e-4, 30)
    system = (basis * values) @ basis.T
    rounded = system + (least - 1e-4) * np.outer(basis[:, -1], basis[:, -1])
    batch = jnp.asarray(np.stack([rounded, 1e-4 * np.eye(30)]), jnp.float32)
    found = jax.jit(inverse_of)(batch, jnp.full(2, 1e-4, jnp.float32))
    np.testing.assert_allclose(found[1], 1e4 * np.eye(30), rtol=1e-5)
    assert float(jnp.max(jnp.diagonal(found[0]))) <= 2e4
    # Each correction leaves I - P M of the miss: it must not grow in any direction.
    left = np.linalg.eigvals(np.eye(30) - np.asarray(found[0], np.float64) @ system)
    assert np.max(np.abs(left)) < 1
