"""The Gram form of orthogonal matching pursuit: a partially pivoted Cholesky factorisation.

In terms of the Gram matrix G = A A' of the atoms and their correlations c = A t: Algorithm 2 picks
the atom of largest residual correlation and solves for the weights again. Both are the Cholesky
factorisation of G + lam I, pivoted by the residual correlations r: with columns d_s found so far,

    d = (G_j - sum_s d_s d_s[j]) / pivot,   pivot² = G_jj + lam - sum_s d_s[j]²,
    y = r_j / pivot,   r <- r - y d,   E_lam <- E_lam - y².

With w >= 0 an atom whose weight turns negative has to leave again. To that end every column has a
second part, u_s, with a place for every pick: the same step on the bordered matrix

    [ G   I ]      pick j:   (d, u) = ((G_j, e_j) - sum_s (d_s, u_s) d_s[j]) / pivot
    [ I   0 ]      leave p:  (d, u) = sum_s (d_s, u_s) u_s[p] / sqrt(q),   q = sum_s u_s[p]²,

where a sum is signed, columns of departures counting -1. Then sum_s u_s u_s' is the inverse of the
support's own system and sum_s y_s u_s its weights, so that r and -w, the pivots and -q are one
vector each, and a departure is the step of a pick from another place, with the opposite sign.

A step reads all columns, which no cache holds; so the remainders G_j - sum_s d_s d_s[j] of a few
candidates at a time, those of largest residual correlation now, are made by one matrix product, and
carried along until a move needs another atom's: on the gradients of a class one product serves 12
to 20 moves. Only the rows of G that it needs are made of the atoms. Problems come in batches.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.batched import leading, matmul
from gradmatch_jax.solvers.moves import Move, Standing, Weights, next_move
from gradmatch_jax.solvers.problem import RUNNING, Problem, first_slots

CANDIDATES = 16
# Columns are read so many at a time, and no more than there are.
CHUNK = 64
_HIGHEST = lax.Precision.HIGHEST


class _Candidates(NamedTuple):
    """Remainders at hand."""

    places: Int[Array, "g b"]  # of an atom, or n + that of a pick
    rows: Float[Array, "g b n+s"]


class _State(NamedTuple):
    """State of the loop: s places of columns; n + s is n where weights may be negative."""

    step: Int[Array, ""]  # columns used
    columns: Float[Array, "g s n+s"]  # (d, u)
    signs: Float[Array, "g s"]  # +1 a pick, -1 an atom that left, 0 neither
    residual: Float[Array, "g n+s"]  # (r, -w)
    pivots: Float[Array, "g n+s"]  # (the squared pivot each atom would have now, -q)
    candidates: _Candidates
    support: Int[Array, "g s"]  # the atoms that are in, each in its pick's place; -1 elsewhere
    chosen: Bool[Array, "g n"]
    feasible: Float[Array, "g s"]
    objective: Float[Array, "g"]
    moves: Int[Array, "g"]
    move: Move  # the next one
    place: Int[Array, "g"]  # its atom, or n + its pick's place


class _Constants(NamedTuple):
    """What the loop reads, for each of g problems."""

    problem: Problem
    correlations: Float[Array, "g n"]
    diagonal: Float[Array, "g n"]  # of G + lam I
    dependent: Float[Array, "g n"]  # a pivot below this is rounding error: a chosen combination
    negligible: Float[Array, "g 1"]  # a correlation below this is rounding error
    small: Float[Array, "g"]  # an objective below this is below eps, rounding included
    nonnegative: bool
    slots: int


def greedy_support(
    problem: Problem, slots: int, *, eps: float, nonnegative: bool
) -> tuple[Int[Array, "g k"], Int[Array, "g"]]:
    """Pick up to `budgets` atoms for each of g problems, in one loop over moves.

    Atoms outside `free` are never picked. A problem stops early when E_lam < eps, or when no
    candidate has a correlation (a positive one, if `nonnegative`) above rounding error.
    Returns the supports, in pick order, -1 in the slots left over; and why each problem stopped.
    """
    correlations = problem.correlated()
    machine = float(jnp.finfo(correlations.dtype).eps)
    diagonal = problem.squares() + problem.lam[:, None]
    largest = jnp.max(jnp.where(problem.free, jnp.abs(correlations), 0.0), axis=1, initial=0.0)
    const = _Constants(
        problem, correlations, diagonal, 8 * machine * diagonal, 4 * machine * largest[:, None],
        eps - 4 * machine * problem.target_sq_norm, nonnegative, slots,
    )  # fmt: skip
    end = lax.while_loop(
        lambda state: jnp.any(state.move.reasons == RUNNING),
        lambda state: _stretch(const, _refill(const, _with_room(const, state))),
        _start(const),
    )
    support, _ = first_slots(end.support, end.feasible, end.support >= 0)
    return support[:, :slots], end.move.reasons


def _start(const: _Constants) -> _State:
    (g, n), dtype = const.correlations.shape, const.correlations.dtype
    places = const.slots + (const.slots // 8 + 8 if const.nonnegative else 0)  # some will leave
    places += -places % min(CHUNK, places)
    room = ((0, 0), (0, places if const.nonnegative else 0))
    residual = jnp.pad(const.correlations, room)
    b, none = min(CANDIDATES, n), jnp.zeros(g, jnp.int32)
    rows = jnp.zeros((g, b, residual.shape[1]), dtype)
    state = _State(
        step=jnp.zeros((), jnp.int32),
        columns=jnp.zeros((g, places, residual.shape[1]), dtype),
        signs=jnp.zeros((g, places), dtype),
        residual=residual,
        pivots=jnp.pad(const.diagonal, room),
        candidates=_Candidates(jnp.zeros((g, b), jnp.int32), rows),
        support=jnp.full((g, places), -1, jnp.int32),
        chosen=jnp.zeros((g, n), bool),
        feasible=jnp.zeros((g, places), dtype),
        objective=const.problem.target_sq_norm,
        moves=none,
        move=Move(none, jnp.zeros(g, dtype), jnp.zeros(g, dtype), jnp.full_like(none, RUNNING)),
        place=none,
    )
    return _looked_ahead(const, state)


def _gain(const: _Constants, state: _State) -> Float[Array, "g n"]:
    """Residual correlations of the atoms that may enter, -inf for the others."""
    n = const.correlations.shape[1]
    gain = state.residual[:, :n]
    gain = gain if const.nonnegative else jnp.abs(gain)
    may = const.problem.free & ~state.chosen & (state.pivots[:, :n] > const.dependent)
    return jnp.where(may & (gain > const.negligible), gain, -jnp.inf)


def _weights(const: _Constants, state: _State) -> Float[Array, "g s"]:
    """Least squares on the support, of any sign; where they may not be negative."""
    return jnp.where(state.support >= 0, -state.residual[:, const.correlations.shape[1] :], 0.0)


def _looked_ahead(const: _Constants, state: _State) -> _State:
    """The state with its next move."""
    n, weights = const.correlations.shape[1], None
    if const.nonnegative:
        now = _weights(const, state)
        tolerance = 8 * jnp.finfo(now.dtype).eps * jnp.max(jnp.abs(now), axis=1, keepdims=True)
        weights = Weights(now, state.feasible, now < -tolerance)
    standing = Standing(
        state.move.reasons, state.moves,
        jnp.sum(state.support >= 0, axis=1, dtype=jnp.int32),
        const.problem.budgets.astype(jnp.int32), state.objective < const.small,
    )  # fmt: skip
    move = next_move(_gain(const, state), weights, standing)
    return state._replace(move=move, place=move.atom + jnp.where(move.sign < 0, n, 0))


def _refill(const: _Constants, state: _State) -> _State:
    """Remainders of the atoms that are likely to be picked next, and what the next move needs."""
    n, width = const.correlations.shape[1], state.columns.shape[2]
    places = leading(_gain(const, state), state.candidates.places.shape[1])
    last = jnp.where(state.move.sign < 0, state.place, places[:, -1])
    places = places.at[:, -1].set(last)
    rows = const.problem.rows(jnp.minimum(places, n - 1))
    rows = jnp.where((places < n)[:, :, None], rows, 0.0)
    rows = jnp.pad(rows, ((0, 0), (0, 0), (0, width - n)))
    across = jnp.take_along_axis(state.columns, places[:, None, :], axis=2)
    across = jnp.swapaxes(state.signs[:, :, None] * across, 1, 2)  # (g, b, s)
    chunk = min(CHUNK, state.columns.shape[1])

    def less(i, rows):
        some = lax.dynamic_slice_in_dim(across, i * chunk, chunk, axis=2)
        return rows - matmul(some, lax.dynamic_slice_in_dim(state.columns, i * chunk, chunk, 1))

    rows = lax.fori_loop(0, (state.step + chunk - 1) // chunk, less, rows)
    return state._replace(candidates=_Candidates(places, rows))


def _stretch(const: _Constants, state: _State) -> _State:
    """Moves until one needs a remainder that is not at hand, or all is done."""

    def goes_on(state: _State) -> Bool[Array, ""]:
        running = state.move.reasons == RUNNING
        at_hand = jnp.any(state.candidates.places == state.place[:, None], axis=1)
        room = state.step < state.columns.shape[1]
        return jnp.any(running) & jnp.all(at_hand | ~running) & room

    return lax.while_loop(
        goes_on, lambda state: _looked_ahead(const, _advance(const, state)), state
    )


def _advance(const: _Constants, state: _State) -> _State:
    """The next move of every problem that is not done: a signed column more."""
    move, place, (places, rows) = state.move, state.place, state.candidates
    g, n = jnp.arange(place.shape[0]), const.correlations.shape[1]
    row = rows[g, jnp.argmax(places == place[:, None], axis=1)]
    if const.nonnegative:
        row = row.at[:, n + state.step].set(jnp.maximum(move.sign, 0.0))
    square = jnp.where(move.sign == 0, 1.0, move.sign * state.pivots[g, place])
    pivot = move.sign / jnp.sqrt(jnp.maximum(square, jnp.finfo(row.dtype).tiny))
    column, y = pivot[:, None] * row, pivot * state.residual[g, place]
    signed = move.sign[:, None] * column
    across = jnp.take_along_axis(signed, places, axis=1)
    state = state._replace(
        columns=state.columns.at[:, state.step].set(column),
        signs=state.signs.at[:, state.step].set(move.sign),
        residual=state.residual - y[:, None] * signed,
        pivots=state.pivots - signed * column,
        candidates=_Candidates(places, rows - across[:, :, None] * column[:, None, :]),
        objective=state.objective - move.sign * y**2,
        **_support_after(const, state),
    )
    return state._replace(step=state.step + 1, moves=state.moves + (move.sign != 0).astype(state.moves.dtype))


def _support_after(const: _Constants, state: _State) -> dict[str, Array]:
    """The support, what is chosen and the feasible weights after the next move."""
    move, g = state.move, jnp.arange(state.place.shape[0])
    enters, leaves = move.sign > 0, move.sign < 0
    at = jnp.where(leaves, move.atom, state.step)
    atom = jnp.where(leaves, state.support[g, at], move.atom)
    chosen = jnp.where(move.sign == 0, state.chosen[g, atom], enters)
    after = {
        "support": state.support.at[g, at].set(jnp.where(enters, atom, -1)),
        "chosen": state.chosen.at[g, atom].set(chosen),
    }
    if const.nonnegative:
        way = move.step[:, None] * (_weights(const, state) - state.feasible)
        after["feasible"] = jnp.where(after["support"] >= 0, state.feasible + way, 0.0)
    return after


def _with_room(const: _Constants, state: _State) -> _State:
    """Columns full of departures, made anew: one for each atom of the support."""
    if not const.nonnegative:
        return state  # a column a pick
    full = state.step == state.columns.shape[1]
    return lax.cond(full, lambda: _looked_ahead(const, _rebuilt(const, state)), lambda: state)


def _rebuilt(const: _Constants, state: _State) -> _State:
    """With L L' = G_SS + lam I: the columns are those of L^-1 (G_S, I)."""
    k, n = const.slots, const.correlations.shape[1]
    support, feasible = first_slots(state.support, state.feasible, state.support >= 0)
    support, feasible = support[:, :k], feasible[:, :k]
    taken, eye = support >= 0, jnp.eye(k, dtype=feasible.dtype)[None]
    rows = jnp.where(taken[:, :, None], const.problem.rows(support), 0.0)
    gram = jnp.take_along_axis(rows, jnp.maximum(support, 0)[:, None, :], axis=2)
    largest = jnp.max(const.diagonal, axis=1)
    lam = jnp.maximum(const.problem.lam, jnp.finfo(eye.dtype).eps * largest)
    shift = jnp.where(taken, lam[:, None], 1.0)[:, :, None] * eye
    factor = jnp.linalg.cholesky(jnp.where(taken[:, None, :], gram, 0.0) + shift)
    known = jnp.where(taken, jnp.take_along_axis(const.correlations, support, axis=1), 0.0)
    own = jnp.where(taken[:, :, None], eye, 0.0)
    sides = jnp.concatenate([rows, own, known[:, :, None]], axis=2)
    solved = lax.linalg.triangular_solve(factor, sides, left_side=True, lower=True)
    columns, y = solved[:, :, :-1], solved[:, :, -1]
    spare = (0, state.columns.shape[1] - k)
    columns = jnp.pad(columns, ((0, 0), spare, spare))
    width = ((0, 0), (0, columns.shape[2] - n))
    explained = jnp.einsum("gs,gsn->gn", y, columns[:, :k], precision=_HIGHEST)
    return state._replace(
        step=jnp.asarray(k, jnp.int32),
        columns=columns,
        signs=jnp.pad(taken.astype(eye.dtype), ((0, 0), spare)),
        residual=jnp.pad(const.correlations, width) - explained,
        pivots=jnp.pad(const.diagonal, width) - jnp.sum(columns**2, axis=1),
        support=jnp.pad(support, ((0, 0), spare), constant_values=-1),
        feasible=jnp.pad(feasible, ((0, 0), spare)),
        objective=const.problem.target_sq_norm - jnp.sum(y**2, axis=1),
    )
