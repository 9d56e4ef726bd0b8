"""The greedy loop of orthogonal matching pursuit: a partially pivoted Cholesky factorisation.

In terms of the Gram matrix G = A A' of the atoms and their correlations c = A t: Algorithm 2 picks
the atom of largest residual correlation and solves for the weights again. Both are the Cholesky
factorisation of G + lam I, pivoted by the residual correlations r: with columns d_s found so far,

    d = (G_j - sum_s d_s d_s[j]) / pivot,   pivot² = G_jj + lam - sum_s d_s[j]²,
    y = r_j / pivot,   r <- r - y d,   E_lam <- E_lam - y².

The factor is right-looking in blocks: a block's columns live in a small buffer, and G is replaced
by its Schur complement with one product a block: long supports stay compute-bound.

With w >= 0 an atom whose weight turns negative has to leave again. Leaving is the same rank-one
step with the opposite sign: with P = (G_SS + lam I)^-1 and q = P_pp,

    d = G_S' P_p / sqrt(q),   y = w_p / sqrt(q),   r <- r + y d,   E_lam <- E_lam + y²,
    Schur complement <- Schur complement + d d',

so P and w are carried along, and negative weights are met where they arise, as by a non-negative
OMP that solves again after each pick. Problems come in batches.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.problem import Problem, StopReason

# Up to SINGLE_BLOCK picks, the columns of the factor stay in one buffer and G is only read; beyond,
# picks come in blocks of BLOCK with a Schur update of G between them. Measured on two CPU cores at
# n = 5000: one buffer of 512 columns still fits the last-level cache, longer ones do not.
SINGLE_BLOCK = 512
BLOCK = 256


class _Positive(NamedTuple):
    """What non-negative weights need beside `_Greedy`: the weights and their inverse system."""

    weights: Float[Array, "g k"]  # least squares on the support, of any sign
    feasible: Float[Array, "g k"]  # the last non-negative ones, on their way to `weights`
    inverse: Float[Array, "g k k"]  # P = (G_SS + lam I)^-1, zero in free slots


class _Greedy(NamedTuple):
    """State of the greedy loop: what the next step needs, for every problem of the batch."""

    step: Int[Array, ""]  # columns used in this block
    moves: Int[Array, "g"]  # picks and departures so far
    columns: Float[Array, "g block n"]
    signs: Float[Array, "g block"]  # +1 a pick, -1 an atom that left
    residual: Float[Array, "g n"]  # residual correlations r
    pivots: Float[Array, "g n"]  # the squared pivot each atom would have now
    free: Bool[Array, "g n"]
    objective: Float[Array, "g"]
    support: Int[Array, "g k"]  # -1 in free slots
    active: Bool[Array, "g"]  # False once a problem can pick no more
    positive: _Positive | None  # None where weights may be negative


class _Constants(NamedTuple):
    """What the loop reads, for each of g problems."""

    gram: Float[Array, "g n n"]
    lam: Float[Array, "g"]
    budgets: Int[Array, "g"]
    dependent: Float[Array, "g n"]  # a pivot below this is rounding error: a chosen combination
    negligible: Float[Array, "g"]  # a correlation below this is rounding error
    floor: Float[Array, "g"]  # what rounding can add to the objective
    limit: int  # of moves: exchanges can cycle, a bound cannot


def _rank_one(state: _Greedy, go, column, y, sign, free, support, positive) -> _Greedy:
    """Append a signed column to the factor: the one step that picks and departures share."""
    return state._replace(
        step=state.step + 1,
        moves=state.moves + go.astype(jnp.int32),
        columns=state.columns.at[:, state.step].set(column),
        signs=state.signs.at[:, state.step].set(sign),
        residual=state.residual - sign * y[:, None] * column,
        pivots=state.pivots - sign * column**2,
        free=free,
        objective=state.objective - sign * y**2,
        support=support,
        positive=positive,
    )


def _pick(problem: _Constants, eps: float, schur, state: _Greedy) -> _Greedy:
    """Add the atom of largest residual correlation to each problem that is not full."""
    g = jnp.arange(problem.budgets.shape[0])
    score = state.residual if state.positive else jnp.abs(state.residual)
    score = jnp.where(state.free & (state.pivots > problem.dependent), score, -jnp.inf)
    j = jnp.argmax(score, axis=1)
    sizes = jnp.sum(state.support >= 0, axis=1, dtype=jnp.int32)
    unfinished = state.active & (sizes < problem.budgets)
    unfinished &= (state.objective + problem.floor >= eps) & (state.moves < problem.limit)
    go = unfinished & (score[g, j] > problem.negligible)

    pivot = jnp.sqrt(jnp.where(go, state.pivots[g, j], 1.0))
    row = state.signs * state.columns[g, :, j]
    known = jnp.einsum("gb,gbn->gn", row, state.columns, precision=lax.Precision.HIGHEST)
    column = jnp.where(go[:, None], (schur[g, j] - known) / pivot[:, None], 0.0)
    y = jnp.where(go, state.residual[g, j] / pivot, 0.0)
    slot = jnp.argmin(state.support, axis=1)  # the first free one: -1 is the smallest entry
    positive = state.positive
    if positive is not None:
        known = jnp.where(
            state.support >= 0, problem.gram[g[:, None], state.support, j[:, None]], 0
        )
        z = jnp.einsum("gks,gs->gk", positive.inverse, known, precision=lax.Precision.HIGHEST)
        u = (jnp.zeros_like(z).at[g, slot].set(1.0) - z) * (go.astype(pivot.dtype) / pivot)[:, None]
        positive = _Positive(
            weights=positive.weights + y[:, None] * u,
            feasible=jnp.maximum(positive.weights, 0.0),
            inverse=positive.inverse + u[:, :, None] * u[:, None, :],
        )
    free = state.free.at[g, j].set(jnp.where(go, False, state.free[g, j]))
    support = state.support.at[g, slot].set(
        jnp.where(go, j.astype(jnp.int32), state.support[g, slot])
    )
    state = state._replace(active=go)
    return _rank_one(state, go, column, y, 1.0, free, support, positive)


def _negative(problem: _Constants, state: _Greedy) -> Bool[Array, "g k"]:
    """Slots whose weight has turned negative by more than rounding, while moves are left."""
    assert state.positive is not None
    weights = state.positive.weights
    tolerance = 8 * jnp.finfo(weights.dtype).eps * jnp.max(jnp.abs(weights), axis=1, keepdims=True)
    return (weights < -tolerance) & (state.moves < problem.limit)[:, None]


def _leave(problem: _Constants, state: _Greedy) -> _Greedy:
    """Take an atom out of each problem that has a negative weight.

    The one whose weight reaches zero first on the way from the last feasible weights to the new
    ones (Lawson & Hanson 1974), so that the departures end at non-negative least squares.
    """
    assert state.positive is not None
    weights, feasible, inverse = state.positive
    g = jnp.arange(weights.shape[0])
    negative = _negative(problem, state)
    go = jnp.any(negative, axis=1)
    way = jnp.where(negative, feasible / jnp.where(negative, feasible - weights, 1.0), jnp.inf)
    slot = jnp.argmin(way, axis=1)
    step = jnp.where(go, way[g, slot], 0.0)[:, None]
    q = jnp.where(go, inverse[g, slot, slot], 1.0)
    u = jnp.where(go[:, None], inverse[g, slot] / jnp.sqrt(q)[:, None], 0.0)
    y = jnp.where(go, weights[g, slot] / jnp.sqrt(q), 0.0)
    chosen = jnp.where((state.support >= 0)[:, :, None], problem.gram[g[:, None], state.support], 0)
    column = jnp.einsum("gk,gkn->gn", u, chosen, precision=lax.Precision.HIGHEST)
    keep = ~(go[:, None] & (jnp.arange(weights.shape[1])[None] == slot[:, None]))
    positive = _Positive(
        weights=jnp.where(keep, weights - y[:, None] * u, 0.0),
        feasible=jnp.where(keep, feasible + step * (weights - feasible), 0.0),
        inverse=jnp.where(
            keep[:, :, None] & keep[:, None, :], inverse - u[:, :, None] * u[:, None, :], 0.0
        ),
    )
    leaver = state.support[g, slot]
    support = jnp.where(keep, state.support, -1)
    free = state.free.at[g, leaver].set(state.free[g, leaver] | go)
    state = state._replace(active=state.active | go)
    return _rank_one(state, go, column, y, -1.0, free, support, positive)


def _compress(problem: _Constants, state: _Greedy) -> _Greedy:
    """Rewrite a full buffer, departures and all, as one column for each slot of the support.

    The factor's part in G is G_S' P G_S; with P = C C' its columns are those of C' G_S.
    """
    assert state.positive is not None
    inverse, chosen = state.positive.inverse, state.support >= 0
    g, k = state.support.shape
    empty = jnp.where(chosen, 0.0, 1.0)[:, :, None] * jnp.eye(k, dtype=inverse.dtype)[None]
    factor = jnp.linalg.cholesky(inverse + empty)
    rows = problem.gram[jnp.arange(g)[:, None], state.support]
    rows = jnp.where(chosen[:, :, None], rows, 0.0)
    columns = jnp.einsum("gsk,gsn->gkn", factor, rows, precision=lax.Precision.HIGHEST)
    return state._replace(
        step=jnp.asarray(k, jnp.int32),
        columns=jnp.zeros_like(state.columns).at[:, :k].set(columns),
        signs=jnp.ones_like(state.signs),
    )


def _unfinished(problem: _Constants, state: _Greedy) -> Bool[Array, ""]:
    waiting = jnp.any(state.active)
    return waiting if state.positive is None else waiting | jnp.any(_negative(problem, state))


def greedy_support(
    problem: Problem, max_budget: int, *, eps: float, nonnegative: bool
) -> tuple[Int[Array, "g k"], Int[Array, "g"]]:
    """Pick up to `budgets` atoms for each of g problems, in one loop over picks.

    Atoms outside `free` are never picked. A problem stops early when E_lam < eps, or when no
    candidate has a correlation (a positive one, if `nonnegative`) above rounding error.
    Returns the supports, in pick order (unless an atom left and its slot was used again), -1 in
    the slots left over; and why each problem stopped.
    """
    gram, correlations, budgets = problem.gram, problem.correlations, problem.budgets
    assert gram is not None
    assert correlations is not None
    g, n = correlations.shape
    machine = float(jnp.finfo(gram.dtype).eps)
    single = max_budget <= SINGLE_BLOCK
    # Departures use columns too; a full buffer is compressed to one column an atom.
    block = max_budget + (max_budget // 8 + 8 if nonnegative else 0) if single else BLOCK
    diagonal = jnp.diagonal(gram, axis1=1, axis2=2) + problem.lam[:, None]
    largest = jnp.max(jnp.where(problem.free, jnp.abs(correlations), 0.0), axis=1, initial=0.0)
    constants = _Constants(
        gram, problem.lam, budgets, 8 * machine * diagonal, 4 * machine * largest,
        4 * machine * problem.target_sq_norm, 4 * max_budget + 4,
    )  # fmt: skip
    positive = None
    if nonnegative:
        empty = jnp.zeros((g, max_budget), gram.dtype)
        positive = _Positive(empty, empty, jnp.zeros((g, max_budget, max_budget), gram.dtype))
    state = _Greedy(
        step=jnp.zeros((), jnp.int32),
        moves=jnp.zeros(g, jnp.int32),
        columns=jnp.zeros((g, block, n), gram.dtype),
        signs=jnp.ones((g, block), gram.dtype),
        residual=correlations,
        pivots=diagonal,
        free=problem.free,
        objective=problem.target_sq_norm,
        support=jnp.full((g, max_budget), -1, jnp.int32),
        active=budgets > 0,
        positive=positive,
    )

    state = (_single_block if single else _many_blocks)(constants, eps, state)
    return state.support, _reasons(constants, eps, state)


def _reasons(problem: _Constants, eps: float, state: _Greedy) -> Int[Array, "g"]:
    """Why each problem stopped: the first of the conditions that `_pick` and `_negative` ask."""
    sizes = jnp.sum(state.support >= 0, axis=1, dtype=jnp.int32)
    stopped = [
        (state.moves >= problem.limit, StopReason.MOVE_LIMIT),
        (sizes >= problem.budgets, StopReason.BUDGET),
        (state.objective + problem.floor < eps, StopReason.EPS),
    ]
    reasons = jnp.full_like(problem.budgets, StopReason.NOTHING_LEFT)
    for holds, reason in reversed(stopped):
        reasons = jnp.where(holds, jnp.asarray(reason, reasons.dtype), reasons)
    return reasons


def _single_block(problem: _Constants, eps: float, state: _Greedy) -> _Greedy:
    """The loop over steps where one buffer holds the factor: G is only read."""
    block = state.columns.shape[1]
    pick = partial(_pick, problem, eps, problem.gram)
    moves = (pick, partial(_leave, problem), partial(_compress, problem))

    def advance(state: _Greedy) -> _Greedy:
        if state.positive is None:
            return pick(state)
        move = jnp.where(jnp.any(_negative(problem, state)), 1, 0)
        return lax.switch(jnp.where(state.step == block, 2, move), moves, state)

    return lax.while_loop(partial(_unfinished, problem), advance, state)


def _many_blocks(problem: _Constants, eps: float, state: _Greedy) -> _Greedy:
    """The loop over blocks of steps, with a Schur update of a copy of G between blocks."""
    block = state.columns.shape[1]

    def advance(schur, state: _Greedy) -> _Greedy:
        pick = partial(_pick, problem, eps, schur)
        if state.positive is None:
            return pick(state)
        leaving = jnp.any(_negative(problem, state))
        return lax.cond(leaving, partial(_leave, problem), pick, state)

    def update(schur, state: _Greedy):
        signed = state.signs[:, :, None] * state.columns
        return schur - jnp.einsum(
            "gbn,gbm->gnm", signed, state.columns, precision=lax.Precision.HIGHEST
        )

    def run_block(carry):
        schur, state = carry
        schur = lax.cond(state.step > 0, update, lambda schur, _: schur, schur, state)
        state = state._replace(step=jnp.zeros((), jnp.int32), columns=jnp.zeros_like(state.columns))
        return schur, lax.while_loop(
            lambda s: (s.step < block) & _unfinished(problem, s),
            partial(advance, schur),
            state,
        )

    return lax.while_loop(
        lambda carry: _unfinished(problem, carry[1]), run_block, (problem.gram, state)
    )[1]
