"""What a pursuit does next: an atom enters, one whose weight turned negative leaves, or it ends.

The one whose weight reaches zero first on the way from the last feasible weights to the new ones
leaves first (Lawson & Hanson 1974), so that departures end at non-negative least squares.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.batched import largest
from gradmatch_jax.solvers.problem import RUNNING, StopReason


class Move(NamedTuple):
    """The next move of each problem."""

    atom: Int[Array, "g"]  # its place in `gain` if it enters, in the weights if it leaves
    sign: Float[Array, "g"]  # +1 it enters, -1 it leaves, 0 none
    step: Float[Array, "g"]  # how far the feasible weights go
    reasons: Int[Array, "g"]


class Weights(NamedTuple):
    """Weights that may not be negative, of the support; zeros elsewhere."""

    now: Float[Array, "g s"]  # least squares on the support, of any sign
    feasible: Float[Array, "g s"]  # the last non-negative ones, on their way to them
    negative: Bool[Array, "g s"]  # below zero by more than rounding


class Standing(NamedTuple):
    """What the end of a problem depends on."""

    reasons: Int[Array, "g"]  # `RUNNING`, or why it has stopped
    moves: Int[Array, "g"]
    full: Bool[Array, "g"]  # the support takes all of the budget
    picks: Int[Array, "g"]  # that it has room for
    small: Bool[Array, "g"]  # the objective is below eps


def next_move(gain: Float[Array, "g n"], weights: Weights | None, standing: Standing) -> Move:
    """A departure where a weight has turned negative, else the best pick, else a reason to stop.

    Args:
        gain: of every atom that may enter, -inf for the others.
        weights: None where they may be negative.
        standing: exchanges can cycle: a problem ends after 4 picks + 4 moves.
    """
    g, atom = jnp.arange(gain.shape[0]), largest(gain)
    nothing = jnp.isneginf(gain[g, atom])
    leaving, step = jnp.zeros_like(nothing), jnp.ones_like(gain[:, 0])
    if weights is not None:
        now, feasible, negative = weights
        way = jnp.where(negative, feasible / jnp.where(negative, feasible - now, 1.0), jnp.inf)
        first = largest(-way)
        leaving = jnp.any(negative, axis=1)
        atom, step = jnp.where(leaving, first, atom), jnp.where(leaving, way[g, first], step)
    ends = (
        (standing.reasons != RUNNING, standing.reasons),
        (standing.moves >= 4 * standing.picks + 4, StopReason.MOVE_LIMIT),
        (leaving, RUNNING),
        (standing.full, StopReason.BUDGET),
        (standing.small, StopReason.EPS),
        (nothing, StopReason.NOTHING_LEFT),
    )
    reasons = jnp.full_like(standing.reasons, RUNNING)
    for holds, reason in reversed(ends):
        reasons = jnp.where(holds, jnp.asarray(reason, reasons.dtype), reasons)
    sign = jnp.where(reasons == RUNNING, jnp.where(leaving, -1.0, 1.0), 0.0).astype(gain.dtype)
    return Move(atom.astype(jnp.int32), sign, step, reasons)
