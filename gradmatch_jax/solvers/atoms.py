"""The vectors that a pursuit picks from, as outer products."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.inputs.arrays import AnyArray
from gradmatch_jax.inputs.atoms import LastLayerGradients
from gradmatch_jax.solvers.batched import matmul, matmul_along, rows_at

# Full float32 products: the tensor-core default (tf32) loses the small differences OMP lives on.
_HIGHEST = lax.Precision.HIGHEST


class Atoms(NamedTuple):
    """n vectors a_i = left_i ⊗ right_i: C W coordinates kept as C + W numbers.

    Last-layer gradients are delta_i ⊗ [1, h_i]; rows of a dense matrix are 1 ⊗ a_i. Targets and
    sums of atoms are (C, W). One concrete kind, because every kind there is is one of these.
    """

    left: Float[Array, "*batch n C"]
    right: Float[Array, "*batch n W"]

    @property
    def n(self) -> int:
        """How many."""
        return self.left.shape[-2]

    @property
    def shape(self) -> tuple[int, int]:
        """(C, W): of a target."""
        return self.left.shape[-1], self.right.shape[-1]

    def squares(self) -> Float[Array, "*batch n"]:
        """‖a_i‖²."""
        return jnp.sum(self.left**2, axis=-1) * jnp.sum(self.right**2, axis=-1)

    def gram(self) -> Float[Array, "*batch n n"]:
        """G_ij = <a_i, a_j>."""
        return _inner(self.left) * _inner(self.right)

    def products(self, target: Float[Array, "*batch C W"]) -> Float[Array, "*batch n"]:
        """c_i = <a_i, target>."""
        columns = jnp.swapaxes(target, -1, -2)
        return jnp.sum(self.left * jnp.matmul(self.right, columns, precision=_HIGHEST), axis=-1)

    def weighted_sum(self, weights: Float[Array, "*batch n"]) -> Float[Array, "*batch C W"]:
        """sum_i w_i a_i."""
        left = jnp.swapaxes(self.left * weights[..., None], -1, -2)
        return jnp.matmul(left, self.right, precision=_HIGHEST)

    def spread(self, free: Bool[Array, "*batch n"]) -> Float[Array, "*batch C W"]:
        """The mean square of each coordinate, over the atoms that are free."""
        share = free.astype(self.left.dtype)
        share = share / jnp.maximum(jnp.sum(share, axis=-1, keepdims=True), 1)
        left = jnp.swapaxes(self.left**2 * share[..., None], -1, -2)
        return jnp.matmul(left, self.right**2, precision=_HIGHEST)

    def at(self, places: Int[Array, "g k"]) -> "Atoms":
        """Of batches, the atoms at `places`, all of them within range."""
        return Atoms(rows_at(self.left, places), rows_at(self.right, places))

    def take(self, rows: Int[Array, "*shape"]) -> "Atoms":
        """Atoms at `rows`; rows of -1 (padding) give the last atom and are masked by the caller."""
        return jax.tree.map(lambda x: x[rows], self)


class AtomColumns(NamedTuple):
    """Batches of atoms, an atom a column: what reads all of them takes half the time of rows."""

    left: Float[Array, "g C n"]
    right: Float[Array, "g W n"]

    def products(self, target: Float[Array, "g C W"]) -> Float[Array, "g n"]:
        """c_i = <a_i, target>."""
        return jnp.sum(self.left * matmul(target, self.right), axis=1)

    def weighted_sum(self, weights: Float[Array, "g n"]) -> Float[Array, "g C W"]:
        """sum_i w_i a_i."""
        return matmul_along(self.left * weights[:, None, :], self.right)

    def take(self, places: Int[Array, "g k"]) -> Atoms:
        """The atoms at `places`; at -1 the last one, which the caller masks."""
        g = jnp.arange(places.shape[0])[:, None]
        return Atoms(self.left[g, :, places], self.right[g, :, places])

    def rows(self, places: Int[Array, "g b"]) -> Float[Array, "g b n"]:
        """<a_i, a_j> of a few atoms i with all j."""
        left, right = self.take(places)
        return matmul(left, self.left) * matmul(right, self.right)


def factors(gradients: LastLayerGradients | Float[AnyArray, "*batch n d"]) -> Atoms:
    """The atoms as a solver knows them: delta_i ⊗ [1, h_i], or 1 ⊗ a_i of dense rows."""
    if not isinstance(gradients, LastLayerGradients):
        return dense_atoms(jnp.asarray(gradients))
    residuals, features = map(jnp.asarray, gradients)
    ones = jnp.ones((*features.shape[:-1], 1), features.dtype)  # there may be no feature
    return Atoms(residuals, jnp.concatenate([ones, features], axis=-1))


def shape_of(gradients: LastLayerGradients | Float[AnyArray, "*batch n d"]) -> tuple[int, int]:
    """(C, W) of their `factors`, which are not made for it."""
    if isinstance(gradients, LastLayerGradients):
        return jnp.shape(gradients.residuals)[-1], jnp.shape(gradients.features)[-1] + 1
    return 1, gradients.shape[-1]


def dense_atoms(rows: Float[Array, "*batch n d"]) -> Atoms:
    """The rows of a matrix as atoms."""
    return Atoms(jnp.ones_like(rows[..., :1]), rows)


def _inner(x: Float[Array, "*batch n d"]) -> Float[Array, "*batch n n"]:
    return jnp.matmul(x, jnp.swapaxes(x, -1, -2), precision=_HIGHEST)
