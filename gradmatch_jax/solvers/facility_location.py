"""Facility location by lazy greedy: choose examples that lie near all the others.

    F(S) = sum_i max_{j in S} s_ij        s_ij >= 0, the similarity of i to its representative j

F is submodular, so the gain of a candidate, sum_i max(s_ij - max_{l in S} s_il, 0), only shrinks as
S grows: what it was some picks ago is an upper bound of what it is now. The greedy algorithm picks
the largest gain; the lazy one (Minoux 1978) brings the most promising bounds up to date, a block at
a time, until the best of those beats every bound left, and so makes the same picks. The bounds hold
in floating point too: a gain is always summed in the same order, of terms that only shrink. Exact
ties go to the lowest index.

CRAIG takes s_ij = max_{l,m} d_lm - d_ij with d the distance of two gradients (Mirzasoleiman, Bilmes
& Leskovec 2020, section 3).
Problems come in batches (one a class) and advance together in one loop.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import (
    ArrayLike,
    Count,
    Number,
    as_array,
    converted,
    looking,
    working_dtype,
)
from gradmatch_jax.inputs.values import as_budget, as_count

# Candidates brought up to date in a step of the loop; it changes the time, not the answer. Each
# step pays a top_k, so one at a time is slow; on an accelerator a step is bound by launch latency,
# so there larger blocks should cost next to nothing (not measured).
CPU_BLOCK = 32
ACCELERATOR_BLOCK = 256


class FacilityLocationResult(NamedTuple):
    """Examples chosen by greedy facility location, in the order of the picks."""

    indices: Int[Array, "k"]  # padded with -1
    gains: Float[Array, "k"]  # what each pick added to F, padded with 0
    sizes: Int[Array, "k"]  # how many examples are nearest to it, padded with 0
    objective: Float[Array, ""]  # F of `indices`


class _State(NamedTuple):
    """State of the greedy loop, for g problems of n examples (m >= n: padded to a whole block)."""

    bounds: Float[Array, "g m"]  # upper bounds of the gains, -inf for what cannot be picked
    stale: Float[Array, "g m"]  # those not brought up to date for this pick, -inf elsewhere
    best: Float[Array, "g"]  # the largest gain that is up to date, -inf before there is one
    leader: Int[Array, "g"]  # whose it is, m before there is one
    nearest: Float[Array, "g n"]  # max_{j in S} s_ij; +inf in padding, which gains nothing
    owner: Int[Array, "g n"]  # which pick that is
    positions: Int[Array, "g k"]
    gains: Float[Array, "g k"]
    picked: Int[Array, "g"]  # how many so far
    spent: Int[Array, "g"]  # of the budget
    active: Bool[Array, "g"]


def maximise(
    similarities: Float[Array, "g n n"],
    valid: Bool[Array, "g n"],
    budgets: Int[Array, "g"],
    max_budget: int,
    *,
    block: int | None = None,
    counts: Int[Array, "g n"] | None = None,
) -> tuple[Int[Array, "g k"], Int[Array, "g n"], Float[Array, "g k"]]:
    """Greedy facility location on a batch of problems, min(budget, valid) picks each.

    similarities: row j is candidate j's similarity to each example (symmetric, in every use here);
      >= 0 and finite, also outside `valid`.
    block: candidates brought up to date at a time; None takes what suits the device. It changes
      the time, not the answer.
    counts: what a candidate takes of the budget, which the last pick may go beyond; None: 1 each.

    Returns the positions in pick order, padded with -1; the pick (0 .. k-1) each example is
    nearest to, the first of several as near; the gains, padded with 0.
    """
    g, n, _ = similarities.shape
    if block is None:
        block = CPU_BLOCK if jax.default_backend() == "cpu" else ACCELERATOR_BLOCK
    block = min(block, n)
    # Summed in another order than the loop sums: what rounding can make of n terms is added.
    slack = 1 + n * jnp.finfo(similarities.dtype).eps
    counted = jnp.where(valid[:, None, :], similarities, 0.0)
    bounds = jnp.where(valid, slack * jnp.sum(counted, axis=2), -jnp.inf)
    bounds = jnp.pad(bounds, ((0, 0), (0, max(block + 1 - n, 0))), constant_values=-jnp.inf)
    state = _State(
        bounds=bounds,
        stale=bounds,
        best=jnp.full(g, -jnp.inf, bounds.dtype),
        leader=jnp.full(g, bounds.shape[1], jnp.int32),
        nearest=jnp.where(valid, 0.0, jnp.inf).astype(bounds.dtype),
        owner=jnp.zeros((g, n), jnp.int32),
        positions=jnp.full((g, max_budget), -1, jnp.int32),
        gains=jnp.zeros((g, max_budget), bounds.dtype),
        picked=jnp.zeros(g, jnp.int32),
        spent=jnp.zeros(g, jnp.int32),
        active=budgets > 0,
    )
    counts = valid.astype(jnp.int32) if counts is None else jnp.where(valid, counts, 0)
    budgets = jnp.minimum(budgets, jnp.sum(counts, axis=1, dtype=jnp.int32))
    rows = similarities.reshape(g * n, n)  # one index a row: the gather is then a copy of rows
    advance = partial(_advance, rows, counts, budgets, block)
    state = lax.while_loop(lambda s: jnp.any(s.active), advance, state)
    return state.positions, state.owner, state.gains


def _advance(rows: Float[Array, "gn n"], counts, budgets, block: int, state: _State) -> _State:
    """Bring the most promising block of candidates up to date, and pick if that settles it."""
    g, n = state.nearest.shape
    each = jnp.arange(g, dtype=jnp.int32)
    first_row = each * n
    # The barriers keep XLA from turning top_k, once it is sliced, into a sort of everything. One
    # each: of a pair in a program of several devices, jaxlib 0.10 aborts.
    tops, candidates = (lax.optimization_barrier(x) for x in lax.top_k(state.stale, block + 1))
    rest, rest_index = tops[:, block], candidates[:, block]  # the best of what stays stale
    tops, candidates = tops[:, :block], candidates[:, :block]
    similar = rows[first_row[:, None] + jnp.minimum(candidates, n - 1)]
    gains = jnp.sum(jnp.maximum(similar - state.nearest[:, None], 0.0), axis=2)
    gains = jnp.where(tops > -jnp.inf, gains, -jnp.inf)
    # Past the stale ones top_k returns any: what they hold is kept.
    kept = jnp.take_along_axis(state.bounds, candidates, axis=1)
    place = each[:, None], candidates
    bounds = state.bounds.at[place].set(jnp.where(tops > -jnp.inf, gains, kept))
    stale = state.stale.at[place].set(-jnp.inf)

    best = jnp.max(gains, axis=1)
    leader = jnp.min(jnp.where(gains == best[:, None], candidates, bounds.shape[1]), axis=1)
    better = (best > state.best) | ((best == state.best) & (leader < state.leader))
    best, leader = jnp.where(better, best, state.best), jnp.where(better, leader, state.leader)

    settled = (best > rest) | ((best == rest) & (leader < rest_index))
    go = settled & (best > -jnp.inf) & (state.spent < budgets)
    row = rows[first_row + jnp.minimum(leader, n - 1)]
    closer = go[:, None] & (row > state.nearest)
    slot = jnp.where(go, state.picked, state.positions.shape[1])  # out of range: dropped
    bounds = bounds.at[each, jnp.where(go, leader, bounds.shape[1])].set(-jnp.inf, mode="drop")
    takes = counts[each, jnp.minimum(leader, n - 1)].astype(jnp.int32)
    spent = state.spent + jnp.where(go, takes, 0)
    return _State(
        bounds=bounds,
        stale=jnp.where(go[:, None], bounds, stale),
        best=jnp.where(go, -jnp.inf, best),
        leader=jnp.where(go, bounds.shape[1], leader),
        nearest=jnp.where(closer, row, state.nearest),
        owner=jnp.where(closer, state.picked[:, None], state.owner),
        positions=state.positions.at[each, slot].set(leader, mode="drop"),
        gains=state.gains.at[each, slot].set(best, mode="drop"),
        picked=state.picked + go.astype(state.picked.dtype),
        spent=spent,
        active=(spent < budgets) & (go | (rest > -jnp.inf)),
    )


def cluster_sizes(
    owner: Int[Array, "g n"], counts: Float[Array, "g n"] | Int[Array, "g n"], max_budget: int
) -> Float[Array, "g k"] | Int[Array, "g k"]:
    """The sum of `counts` over the examples each pick is nearest to: 1 each, and 0 in padding."""
    each = jnp.arange(owner.shape[0])[:, None]
    return jnp.zeros((owner.shape[0], max_budget), counts.dtype).at[each, owner].add(counts)


def similarities_of(
    squared: Float[Array, "g n n"], valid: Bool[Array, "g n"]
) -> Float[Array, "g n n"]:
    """CRAIG's s_ij = max d - d_ij of squared distances d²; the maximum is over `valid` pairs."""
    pairs = valid[:, :, None] & valid[:, None, :]
    apart = pairs & ~jnp.eye(squared.shape[1], dtype=bool)[None]
    # One root for the largest: the root is monotone, and n x n of them cost as much as the rest.
    furthest = jnp.max(squared, axis=(1, 2), keepdims=True, initial=0.0, where=apart)
    distances = jnp.sqrt(jnp.where(apart, jnp.maximum(squared, 0.0), 0.0))
    return jnp.where(pairs, jnp.sqrt(furthest) - distances, 0.0)


def squared_distances(gram: Float[Array, "g n n"]) -> Float[Array, "g n n"]:
    """d²_ij = G_ii + G_jj - 2 G_ij. Centre what G is made of: a common offset cancels badly."""
    squares = jnp.diagonal(gram, axis1=1, axis2=2)
    return squares[:, :, None] + squares[:, None, :] - 2 * gram


def facility_location(
    similarities: ArrayLike,
    budget: Count | None = None,
    *,
    block: Count | None = None,
    fraction: Number | None = None,
) -> FacilityLocationResult:
    """Greedily choose min(budget, n) examples that maximise F(S) = sum_i max_{j in S} s_ij.

    Every pick adds the most to F, within 1 - 1/e of the best S of its size (Nemhauser, Wolsey &
    Fisher 1978). What has no gain left is picked too, in order of index, until the budget is met.
    Works under `jit` (budget and block static) and in any float dtype from float32.

    Args:
        similarities: (n, n), finite and >= 0. Symmetric as a rule; else row j is candidate j's
            similarity to each example.
        budget: how many examples; beyond n, entries are padded.
        block: see `maximise`.
        fraction: the budget as a share of n, in its place.

    Returns:
        The picks in order, with what each added to F and how many examples are nearest to it.

    Raises:
        UserError: both or neither of budget and fraction, or such as are none; not a square
            matrix; negative or non-finite entries, or such that F overflows (when not traced).

    Example:
        >>> facility_location([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]], 1).indices.item()
        1
    """
    similarities = as_array("similarities", similarities)
    shape = similarities.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        raise UserError(f"similarities must be a square matrix, not of shape {shape}")
    budget = as_budget(budget, fraction, shape[0])
    block = None if block is None else as_count("block", block, least=1)
    with jax.debug_nans(False):  # what is said of nan is said below
        similarities = converted(similarities, working_dtype(similarities.dtype))
    if not isinstance(similarities, Tracer) and shape[0]:
        _check_range(similarities)
    return _facility_location(similarities, budget, block)


def _check_range(similarities: Float[Array, "n n"]) -> None:
    with looking():
        least, most = float(jnp.min(similarities)), float(jnp.max(similarities))
    if not (least >= 0 and most < float("inf")):
        raise UserError(
            "similarities must be finite and 0 or more; subtract distances from their maximum"
        )
    if most * len(similarities) * 2 > float(jnp.finfo(similarities.dtype).max):
        raise UserError(
            f"similarities reach {most:.0e} and their sum overflows {similarities.dtype}; rescale "
            f"them, say divide by {most:.0e}"
        )


@partial(jax.jit, static_argnames=("budget", "block"))
def _facility_location(similarities, budget: int, block: int | None) -> FacilityLocationResult:
    n = similarities.shape[0]
    k = min(budget, n)
    if k == 0:
        zeros = jnp.zeros(budget, similarities.dtype)
        none = jnp.full(budget, -1, jnp.int32)
        return FacilityLocationResult(none, zeros, zeros.astype(jnp.int32), jnp.sum(zeros))
    valid = jnp.ones((1, n), bool)
    positions, owner, gains = maximise(
        similarities[None], valid, jnp.full(1, k, jnp.int32), k, block=block
    )
    sizes = cluster_sizes(owner, valid.astype(jnp.int32), k)

    def padded(x, fill):
        return jnp.pad(x[0], (0, budget - k), constant_values=fill)

    return FacilityLocationResult(
        padded(positions, -1), padded(gains, 0), padded(sizes, 0), jnp.sum(gains)
    )
