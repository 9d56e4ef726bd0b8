"""The vectors that a pursuit picks from, as outer products."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gradmatch_jax.inputs.arrays import AnyArray
from gradmatch_jax.inputs.atoms import LastLayerGradients

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

    def take(self, rows: Int[Array, "*shape"]) -> "Atoms":
        """Atoms at `rows`; rows of -1 (padding) give the last atom and are masked by the caller."""
        return jax.tree.map(lambda x: x[rows], self)


def factors(gradients: LastLayerGradients | Float[AnyArray, "*batch n d"]) -> Atoms:
    """The atoms as a solver knows them: delta_i ⊗ [1, h_i], or 1 ⊗ a_i of dense rows."""
    if not isinstance(gradients, LastLayerGradients):
        return dense_atoms(jnp.asarray(gradients))
    residuals, features = map(jnp.asarray, gradients)
    ones = jnp.ones_like(features[..., :1])
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
