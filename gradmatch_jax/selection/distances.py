"""Squared distances of gradients, which CRAIG's similarities are made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from gradmatch_jax.gradients import Atoms, LastLayerGradients

# Rows of a block of the matrix of distances on a CPU: three blocks fit its caches.
CPU_BLOCK = 512


def distances_of(atoms: Atoms, valid: Bool[Array, "g m"]) -> Float[Array, "g m m"]:
    """‖g_i - g_j‖², of atoms less their mean: an offset that all share does not cancel it.

    The mean of factored atoms has no factors, but each factor has a mean. With D and E the squared
    distances of the residuals and of the features, a_i = ‖r_i‖² and b_i = 1 + ‖h_i‖²,

        ‖r_i ⊗ h_i - r_j ⊗ h_j‖² = ½ (D (b_i + b_j) + E (a_i + a_j) - D E + (a_i - a_j)(b_i - b_j))

    where D, E and the differences of a and of b come from the centred factors.

    On a CPU the matrix is made a block at a time and its upper half copied from the lower: half
    the products, and nothing n x n is written that is not the answer.
    """
    factors = atoms if isinstance(atoms, LastLayerGradients) else (jnp.asarray(atoms),)
    sides = tuple(_side(x, valid) for x in factors)
    m = valid.shape[1]
    if m <= CPU_BLOCK or jax.default_backend() != "cpu":
        return _pairs(sides, sides)
    count = -(-m // CPU_BLOCK)
    block = -(-m // count)
    fits = ((0, 0), (0, count * block - m))
    padded = jax.tree.map(lambda x: jnp.pad(x, fits + ((0, 0),) * (x.ndim - 2)), sides)
    lower = jnp.asarray([(i, j) for i in range(count) for j in range(i + 1)], jnp.int32) * block

    def rows_from(start):
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, block, axis=1), padded)

    def fill(t, whole):
        i, j = lower[t]
        row, column = rows_from(i), rows_from(j)
        part = _pairs(row, column)
        zero = jnp.zeros_like(i)
        whole = lax.dynamic_update_slice(whole, part, (zero, i, j))
        return lax.dynamic_update_slice(whole, jnp.swapaxes(part, 1, 2), (zero, j, i))

    size = count * block
    whole = jnp.zeros((len(valid), size, size), sides[0].away.dtype)
    return lax.fori_loop(0, len(lower), fill, whole)[:, :m, :m]


class _Side(NamedTuple):
    """One factor of the atoms, centred, and what its pairs need of each row."""

    away: Float[Array, "g m d"]  # x_i - mean
    squares: Float[Array, "g m"]  # ‖x_i - mean‖²
    beyond: Float[Array, "g m"]  # ‖x_i‖² - ‖mean‖²
    base: Float[Array, "g m"]  # ‖mean‖²


def _side(x: Float[Array, "g m d"], valid: Bool[Array, "g m"]) -> _Side:
    away, mean = _centred(x, valid)
    squares = jnp.sum(away**2, axis=2)
    beyond = jnp.sum(away * (away + 2 * mean), axis=2)
    base = jnp.broadcast_to(jnp.sum(mean**2, axis=2), squares.shape)
    return _Side(away, squares, beyond, base)


def _pairs(rows: tuple[_Side, ...], columns: tuple[_Side, ...]) -> Float[Array, "g a b"]:
    """Squared distances of the atoms of `rows` and those of `columns`."""

    def parts(x: _Side, y: _Side):
        """Squared distances, and the squared norms' sums and differences, of pairs."""
        products = jnp.matmul(x.away, jnp.swapaxes(y.away, 1, 2), precision=lax.Precision.HIGHEST)
        distances = x.squares[:, :, None] + y.squares[:, None, :] - 2 * products
        sums = x.beyond[:, :, None] + y.beyond[:, None, :] + 2 * x.base[:, :, None]
        return distances, sums, x.beyond[:, :, None] - y.beyond[:, None, :]

    found = [parts(x, y) for x, y in zip(rows, columns, strict=True)]
    if len(found) == 1:
        return found[0][0]
    (d, a_sum, a_difference), (e, b_sum, b_difference) = found
    d, e = jnp.maximum(d, 0), jnp.maximum(e, 0)
    return (d * (b_sum + 2) + e * a_sum - d * e + a_difference * b_difference) / 2


def _centred(
    x: Float[Array, "g m d"], valid: Bool[Array, "g m"]
) -> tuple[Float[Array, "g m d"], Float[Array, "g 1 d"]]:
    """Rows less the mean of the valid ones, the others 0, and that mean."""
    counted = valid[:, :, None]
    size = jnp.maximum(jnp.sum(counted, axis=1, keepdims=True), 1).astype(x.dtype)
    mean = jnp.sum(jnp.where(counted, x, 0), axis=1, keepdims=True) / size
    return jnp.where(counted, x - mean, 0), mean
