"""A matrix and the updates it owes, against the matrix that has them."""

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.solvers import updated


@pytest.mark.parametrize("g", [1, 3])
def test_owed_and_paid_are_the_same_matrix(g):
    rng = np.random.default_rng(g)
    dense = rng.normal(size=(g, 7, 7)) + 3 * np.eye(7)
    start = jnp.asarray(dense, jnp.float32)
    owed = updated.none(start)
    for place in range(updated.OWED):
        vector, sign = rng.normal(size=(g, 7)), rng.choice([-1.0, 0.0, 0.5, 1.0], size=g)
        dense += sign[:, None, None] * vector[:, :, None] * vector[:, None, :]
        vector, sign = (jnp.asarray(x, jnp.float32) for x in (vector, sign))
        owed = updated.owe(owed, jnp.asarray(place), vector, sign)
        probe = rng.normal(size=(g, 7)).astype(np.float32)
        told = np.einsum("gij,gj->gi", dense, probe)
        seen = updated.product(start, owed, jnp.asarray(probe))
        np.testing.assert_allclose(seen, told, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(updated.paid(start, owed), dense, rtol=1e-4, atol=1e-3)
