"""The products and factors that every form shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.solvers.batched import inverse_of, largest, matmul_along


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


@pytest.mark.parametrize("n", [1, 64, 257, 320, 1009, 5000, 5003, 5120])
def test_the_largest_is_the_first_of_equal_ones(n):
    """Of lengths that rows of 64, of another number or of none fit into."""
    rng = np.random.default_rng(n)
    values = rng.integers(0, 9, (3, n)).astype(np.float32)
    values[1] = -np.inf
    values[2, n // 2 :] = 9.0
    found = jax.jit(largest)(jnp.asarray(values))
    np.testing.assert_array_equal(found, values.argmax(axis=1))


@pytest.mark.parametrize("g", [1, 3])
def test_a_product_along_the_last_axis(g):
    rng = np.random.default_rng(g)
    a, b = rng.normal(size=(g, 4, 9)), rng.normal(size=(g, 5, 9))
    found = matmul_along(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(found, a @ b.swapaxes(1, 2), rtol=1e-5, atol=1e-6)
