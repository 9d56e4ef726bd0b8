"""What a selection is: examples, weights, how well they match and why no more were matched."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Float32, Int, Int64

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike
from gradmatch_jax.inputs.labels import as_indices
from gradmatch_jax.solvers.problem import Form, StopReason

NO_STOPS = np.zeros(len(StopReason), np.int32)
NO_FORM = np.full((), -1, np.int32)
# A constant of the host: a nan that comes out of a jitted function is an error where the user has
# jax_debug_nans on.
NO_ERROR = np.full((), np.nan, np.float32)


class Selection(NamedTuple):
    """A weighted subset of the examples."""

    # of examples, padded with -1; in no promised order, unless the strategy is an ordered one
    indices: Int[Array, "k"]
    weights: Float[Array, "k"]  # padded with 0; as the solver gave them, not rescaled
    size: Int[Array, ""]  # how many entries are real
    num_matched: Int[Array, ""]  # how many of them the method chose; the rest is random fill
    # ‖sum w g - target‖ / ‖target‖ of the problem solved; nan where there was none
    matching_error: Float[Array, ""] | Float[np.ndarray, ""]
    # How many problems stopped for each `StopReason`, and the `Form` that solved them; 0 and -1
    # where nothing was matched. Counts, not one a problem: a checkpoint is read into fixed shapes.
    stops: Int[Array, "reasons"] | Int[np.ndarray, "reasons"] = NO_STOPS
    form: Int[Array, ""] | Int[np.ndarray, ""] = NO_FORM

    def numpy(self) -> tuple[Int64[np.ndarray, "size"], Float32[np.ndarray, "size"]]:
        """Indices and weights on the host, the padding cut off; the arrays are the caller's own.

        >>> unweighted([4, 2, -1]).numpy()[0].tolist()
        [4, 2]
        """
        size = int(self.size)
        return (
            np.array(self.indices[:size], np.int64),
            np.array(self.weights[:size], np.float32),
        )


def count_stops(reasons: Int[Array, "g"], posed: Bool[Array, "g"]) -> Int[Array, "reasons"]:
    """How many of the problems posed stopped for each reason."""
    each = jnp.arange(len(StopReason), dtype=reasons.dtype)
    hits = (reasons[:, None] == each[None]) & posed[:, None]
    return jnp.sum(hits, axis=0, dtype=jnp.int32)


def describe_stops(selection: Selection) -> dict[str, Any]:
    """Which form matched, and how many problems stopped for each reason that occurred.

    Args:
        selection: of a matching method; of others nothing is said.

    Returns:
        "form" by its name or None, "stops" as counts by reason in words.

    Example:
        >>> from gradmatch_jax.selection.subset import select_subset
        >>> describe_stops(select_subset([[2.0, 0.0], [0.0, 2.0], [0.1, 0.1]], 2, lam=0.0))
        {'form': 'gram', 'stops': {'the budget is met': 1}}
    """
    counts = zip(StopReason, np.asarray(selection.stops).tolist(), strict=True)
    form = int(selection.form)
    return {
        "form": None if form < 0 else Form(form).name.lower(),
        "stops": {reason.describe: count for reason, count in counts if count},
    }


def stopped_short(selection: Selection) -> str | None:
    """Why matching ended before its budget, in words; None where it did not."""
    counts = zip(StopReason, np.asarray(selection.stops).tolist(), strict=True)
    said = [
        f"{reason.describe} ({count} of the problems)"
        for reason, count in counts
        if count and reason is not StopReason.BUDGET
    ]
    return "; ".join(said) or None


def effective_size(selection: Selection) -> float:
    """How many equal weights these are worth: (sum w)² / sum w² (Kish 1965), the size at most.

    Far below the size a few examples make most of the sum, and steps of SGD are of uneven length.

    >>> effective_size(Selection(*map(np.asarray, ([4, 2, 7, -1], [9, 0.5, 0.5, 0], 3, 3, 0.0))))
    1.2269938650306749
    """
    weights = np.asarray(selection.weights, np.float64)  # padded with 0; a slice would compile
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def check_finite(selection: Selection) -> Selection:
    """`selection`, whose numbers must be finite (where they are not traced).

    Raises:
        UserError: weights or a matching error that overflowed.
    """
    numbers = selection.weights, selection.matching_error
    traced = any(isinstance(x, Tracer) for x in numbers)
    if not traced and not all(np.all(np.isfinite(x)) for x in numbers):
        raise UserError(
            "the gradients are so large that their products overflow; scale them down, or lower "
            "the learning rate if the training diverged"
        )
    return selection


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
    if budget == selection.indices.shape[0]:
        return selection
    room = (0, budget - selection.indices.shape[0])
    return selection._replace(
        indices=jnp.pad(selection.indices, room, constant_values=-1),
        weights=jnp.pad(selection.weights, room),
    )


def trim(selection: Selection, budget: int) -> Selection:
    """The first `budget` entries; the rest is padding that a compiled shape asked for.

    On the host where it can be: a slice on the device would compile for every budget.
    """
    if budget == selection.indices.shape[0]:
        return selection

    def cut(x: Array) -> Array:
        return x[:budget] if isinstance(x, Tracer) else jax.device_put(np.asarray(x)[:budget])

    return selection._replace(indices=cut(selection.indices), weights=cut(selection.weights))


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

    Args:
        indices: (k,), of examples; -1 behind for entries that are none.

    Returns:
        The selection.

    Raises:
        UserError: indices that are no integers (k,), or below -1, which is padding.

    Example:
        >>> unweighted([4, 2, -1]).weights.tolist()
        [1.0, 1.0, 0.0]
    """
    indices = as_indices("indices", indices)
    weights, size = _ones(indices)
    return Selection(indices, weights, size, size, NO_ERROR)


@jax.jit
def _ones(indices: Int[Array, "k"]) -> tuple[Float32[Array, "k"], Int[Array, ""]]:
    """Weight 1 for each entry that is one, and how many are."""
    real = indices >= 0
    return real.astype(jnp.float32), jnp.sum(real)
