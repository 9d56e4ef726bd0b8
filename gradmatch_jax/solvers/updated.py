"""A matrix and the rank-one updates that it still owes.

A move of a pursuit changes its system by one outer product. Written into the matrix at once that is
a pass over all of it, several times a product with a vector; owed and paid `OWED` at a time it is
one matrix product, and the loop between reads the matrix only.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradmatch_jax.solvers.batched import apply, apply_from_left, matmul, written

OWED = 32
# A system's inverse is made afresh where a correction by it is worth more of the solution's energy
# than this, and after so many moves, drift or none: after 256 that was a fifth of all work for 30 %
# of CIFAR-10, and the answers were no better.
DRIFT = 1e-7
REFRESH = 1024


class Updates(NamedTuple):
    """sum_b signs_b vectors_b vectors_b', for every problem of the batch."""

    vectors: Float[Array, "g b s"]
    signs: Float[Array, "g b"]


def none(like: Float[Array, "g s s"]) -> Updates:
    """No update owed."""
    g, size = like.shape[:2]
    return Updates(jnp.zeros((g, OWED, size), like.dtype), jnp.zeros((g, OWED), like.dtype))


def owe(
    updates: Updates, place: Int[Array, ""], vector: Float[Array, "g s"], sign: Float[Array, "g"]
) -> Updates:
    """One more, at `place` < `OWED`; a sign of 0 is no update."""
    return Updates(written(updates.vectors, vector, place), written(updates.signs, sign, place))


def product(
    matrix: Float[Array, "g s s"], updates: Updates, vector: Float[Array, "g s"]
) -> Float[Array, "g s"]:
    """The updated matrix times a vector."""
    along = updates.signs * apply(updates.vectors, vector)
    return apply(matrix, vector) + apply_from_left(along, updates.vectors)


def paid(matrix: Float[Array, "g s s"], updates: Updates) -> Float[Array, "g s s"]:
    """The updated matrix itself."""
    signed = updates.signs[:, :, None] * updates.vectors
    return matrix + matmul(jnp.swapaxes(updates.vectors, 1, 2), signed)
