"""What a selection is, exact budgets, groups of examples, and the policy for a shortfall."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradmatch_jax.inputs.arrays import ArrayLike
from gradmatch_jax.inputs.labels import as_indices


class Selection(NamedTuple):
    """A weighted subset of the examples."""

    indices: Int[Array, "k"]  # of examples, in no promised order; padded with -1
    weights: Float[Array, "k"]  # padded with 0; as the solver gave them, not rescaled
    size: Int[Array, ""]  # how many entries are real
    num_matched: Int[Array, ""]  # how many of them the method chose; the rest is random fill
    matching_error: Float[Array, ""]  # ‖sum w g - target‖ / ‖target‖ of the problem solved


def compact(
    indices: Int[Array, "*slots"], weights: Float[Array, "*slots"], budget: int
) -> tuple[Int[Array, "budget"], Float[Array, "budget"]]:
    """Flatten to `budget` entries, the real ones (index >= 0) first, their order kept."""
    indices, weights = indices.reshape(-1), weights.reshape(-1)
    real = indices >= 0
    place = jnp.where(real, jnp.cumsum(real) - 1, budget)  # out of range: dropped
    return (
        jnp.full(budget, -1, indices.dtype).at[place].set(indices, mode="drop"),
        jnp.zeros(budget, weights.dtype).at[place].set(weights, mode="drop"),
    )


def pad(selection: Selection, budget: int) -> Selection:
    """`selection` with room for `budget` entries, unused ones behind."""
    room = (0, budget - selection.indices.shape[0])
    return selection._replace(
        indices=jnp.pad(selection.indices, room, constant_values=-1),
        weights=jnp.pad(selection.weights, room),
    )


def empty_selection(budget: int) -> Selection:
    """Nothing selected, which leaves the whole target unmatched."""
    zero = jnp.zeros((), jnp.int32)
    indices = jnp.full((budget,), -1, jnp.int32)
    return Selection(indices, jnp.zeros((budget,)), zero, zero, jnp.asarray(1.0))


def relative_error(squares: Float[Array, "*g"], target_squares: Float[Array, "*g"]) -> Array:
    """sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²): the matching error over all groups."""
    scale = jnp.sum(target_squares)
    return jnp.sqrt(jnp.sum(squares) / jnp.where(scale > 0, scale, 1.0))


def unweighted(indices: ArrayLike) -> Selection:
    """A selection with weight 1 each and nothing matched to a gradient (matching_error is nan).

    Raises:
        UserError: indices that are no integers (k,), or below -1, which is padding.
    """
    indices = as_indices("indices", indices)
    real = indices >= 0
    size = jnp.sum(real)
    nan = jnp.full((), jnp.nan)
    return Selection(indices, real.astype(jnp.float32), size, size, nan)
