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
candidates at a time are made by one matrix product, and carried along until a move needs another
atom's. Candidates are what the next moves are foreseen to need (`foresight`: about ten moves a
product), or, of few atoms, those of largest residual correlation now. Only the rows of G that it
needs are made of the atoms. Problems come in batches.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.batched import leading, matmul, when
from gradmatch_jax.solvers.foresight import foreseen
from gradmatch_jax.solvers.gram_columns import (
    AT_ONCE,
    CORRECT,
    FALLEN,
    LAST,
    LATEST,
    Candidates,
    Constants,
    State,
    candidates,
    chunk_of,
    constants_of,
    entries_at,
    foresees,
    most_moves,
    noise_after,
    places_for,
    rows_of_gram,
    step_of,
    weights_of,
)
from gradmatch_jax.solvers.gram_upkeep import corrected, rebuilt, turned_after
from gradmatch_jax.solvers.moves import Move, Standing, Weights, next_move
from gradmatch_jax.solvers.problem import RUNNING, Matched, Problem, first_slots


def greedy_support(problem: Problem, slots: int, *, eps: float, nonnegative: bool) -> Matched:
    """Pick up to `budgets` atoms for each of g problems, in one loop over moves.

    Atoms outside `free` are never picked. A problem stops early when E_lam < eps, or when no
    candidate has a correlation (a positive one, if `nonnegative`) above rounding error.
    Returns the supports, in pick order, -1 in the slots left over; their weights, which are right
    where corrections are `needed`; and why each problem stopped.
    """
    const = constants_of(problem, slots, eps=eps, nonnegative=nonnegative)
    end = lax.while_loop(
        _running, lambda state: _with_room(const, _until_full(const, state)), _start(const)
    )
    support, weights = first_slots(end.support, _last_weights(const, end), end.support >= 0)
    return Matched(support[:, :slots], weights[:, :slots], end.move.reasons)


def _last_weights(const: Constants, end: State) -> Float[Array, "g s"]:
    """Corrected by what they miss, where corrections are needed."""
    space = const.space
    if space is None:
        return end.feasible

    def once(_: Int[Array, ""], state: State) -> State:
        residual, objective = corrected(const, space, state)
        return state._replace(residual=residual, objective=objective)

    return weights_of(const, lax.fori_loop(0, jnp.where(space.needed, LAST, 0), once, end))


def _running(state: State) -> Bool[Array, ""]:
    return jnp.any(state.move.reasons == RUNNING)


def _until_full(const: Constants, state: State) -> State:
    """Moves until all is done, or there is no column left for one."""

    def goes_on(state: State) -> Bool[Array, ""]:
        return _running(state) & (_always_room(const, state) | (state.step < state.signs.shape[1]))

    return lax.while_loop(
        goes_on, lambda state: _stretch(const, _refill(const, _put_right(const, state))), state
    )


def _always_room(const: Constants, state: State) -> bool:
    return state.columns.shape[1] >= most_moves(const)


def _start(const: Constants) -> State:
    (g, n), dtype = const.correlations.shape, const.correlations.dtype
    places = places_for(const)
    room = ((0, 0), (0, places if const.dual else 0))
    residual = jnp.pad(const.correlations, room)
    b, none = min(candidates(const), n), jnp.zeros(g, jnp.int32)
    rows = jnp.zeros((g, b, residual.shape[1]), dtype)
    columns = jnp.zeros((g, places, residual.shape[1]), dtype)
    foreseeing = b > 1 and foresees(n, const.width, const.slots)
    return State(
        step=jnp.zeros((), jnp.int32),
        corrected=jnp.asarray(-LATEST, jnp.int32),
        largest=jnp.zeros(g, dtype),
        columns=columns,
        turned=jnp.swapaxes(columns, 1, 2) if foreseeing else None,
        signs=jnp.zeros((g, places), dtype),
        residual=residual,
        pivots=jnp.pad(const.diagonal, room),
        noise=jnp.zeros_like(residual),
        candidates=Candidates(jnp.zeros((g, b), jnp.int32), rows),
        support=jnp.full((g, places), -1, jnp.int32),
        chosen=jnp.zeros((g, n), bool),
        feasible=jnp.zeros((g, places), dtype),
        objective=const.problem.target_sq_norm,
        moves=none,
        move=Move(none, jnp.zeros(g, dtype), jnp.zeros(g, dtype), jnp.full_like(none, RUNNING)),
        place=none,
    )


def _gain(const: Constants, state: State) -> Float[Array, "g n"]:
    """Residual correlations of the atoms that may enter, -inf for the others."""
    n = const.correlations.shape[1]
    gain = state.residual[:, :n]
    gain = gain if const.nonnegative else jnp.abs(gain)
    independent = state.pivots[:, :n] > jnp.maximum(const.noise, state.noise[:, :n])
    may = const.problem.free & ~state.chosen & independent
    return jnp.where(may & (gain > const.rounding), gain, -jnp.inf)


def _looked_ahead(const: Constants, state: State) -> State:
    """The state with its next move."""
    n, weights = const.correlations.shape[1], None
    if const.nonnegative:
        now = weights_of(const, state)
        tolerance = 8 * jnp.finfo(now.dtype).eps * jnp.max(jnp.abs(now), axis=1, keepdims=True)
        weights = Weights(now, state.feasible, now < -tolerance)
    standing = Standing(
        state.move.reasons, state.moves,
        const.problem.spent(state.support) >= const.problem.budgets,
        const.picks, state.objective < const.small,
    )  # fmt: skip
    move = next_move(_gain(const, state), weights, standing)
    return state._replace(move=move, place=move.atom + jnp.where(move.sign < 0, n, 0))


def _put_right(const: Constants, state: State) -> State:
    """With the residual as it is, and the next move by that."""
    return _looked_ahead(const, _refined(const, state))


def _refined(const: Constants, state: State) -> State:
    """Weights and residual correlations by what they really miss, in the space of the atoms.

    Carried along, a correlation has the rounding of the first, largest ones, which hides it where
    lam is small; a_i . (t - A_S' w) has that of its own terms.
    """
    if const.space is None:
        return state
    space, since = const.space, state.step - state.corrected
    correlations = state.residual[:, : const.correlations.shape[1]]
    now = jnp.max(jnp.where(const.problem.free, jnp.abs(correlations), 0.0), axis=1)
    fallen = (state.move.reasons == RUNNING) & (now < FALLEN * state.largest)
    due = ((since >= CORRECT) & jnp.any(fallen)) | (since >= LATEST)
    residual, objective, at, largest = lax.cond(
        space.needed & due,
        lambda: (*corrected(const, space, state), state.step, now),
        lambda: (state.residual, state.objective, state.corrected, state.largest),
    )
    return state._replace(residual=residual, objective=objective, corrected=at, largest=largest)


def _with_room(const: Constants, state: State) -> State:
    """Columns full of departures, made anew: one for each atom of the support."""
    if _always_room(const, state):
        return state
    return when(_running(state), lambda state: rebuilt(const, state), state)


def _refill(const: Constants, state: State) -> State:
    """Remainders of the atoms that are likely to be picked next, and what the next move needs."""
    n, width = const.correlations.shape[1], state.columns.shape[2]
    if _alone(state):
        places = state.place[:, None]
    elif state.turned is not None:
        places = foreseen(const, state, state.candidates.places.shape[1])
    else:
        places = leading(_gain(const, state), state.candidates.places.shape[1])
        last = jnp.where(state.move.sign < 0, state.place, places[:, -1])
        places = places.at[:, -1].set(last)
    rows = rows_of_gram(const, jnp.minimum(places, n - 1))
    rows = jnp.where((places < n)[:, :, None], rows, 0.0)
    rows = jnp.pad(rows, ((0, 0), (0, 0), (0, width - n)))
    across = state.signs[:, None, :] * entries_at(state, places)  # (g, b, s)
    chunk = chunk_of(state.columns.shape[1])
    if _alone(state) or chunk == state.columns.shape[1]:
        return state._replace(candidates=Candidates(places, rows - matmul(across, state.columns)))

    def less(i, rows):
        some = lax.dynamic_slice_in_dim(across, i * chunk, chunk, axis=2)
        return rows - matmul(some, lax.dynamic_slice_in_dim(state.columns, i * chunk, chunk, 1))

    rows = lax.fori_loop(0, (state.step + chunk - 1) // chunk, less, rows)
    return state._replace(candidates=Candidates(places, rows))


def _stretch(const: Constants, state: State) -> State:
    """Moves until one needs a remainder that is not at hand, or all is done."""
    if _alone(state):  # whose next move `_put_right` looks for
        return _advance(const, state)
    first = state.step
    end = state.columns.shape[1]
    if state.turned is not None:
        end = jnp.minimum(end, first + AT_ONCE)

    def goes_on(state: State) -> Bool[Array, ""]:
        running = state.move.reasons == RUNNING
        at_hand = jnp.any(state.candidates.places == state.place[:, None], axis=1)
        return jnp.any(running) & jnp.all(at_hand | ~running) & (state.step < end)

    state = lax.while_loop(
        goes_on, lambda state: _looked_ahead(const, _advance(const, state)), state
    )
    return turned_after(state, first)


def _alone(state: State) -> bool:
    """Whether there is one candidate, the next move's."""
    return state.candidates.places.shape[1] == 1


def _advance(const: Constants, state: State) -> State:
    """The next move of every problem that is not done: a signed column more."""
    move, place, (places, rows) = state.move, state.place, state.candidates
    g, n = jnp.arange(place.shape[0]), const.correlations.shape[1]
    row = rows[g, jnp.argmax(places == place[:, None], axis=1)]
    if const.dual:
        row = row.at[:, n + state.step].set(jnp.maximum(move.sign, 0.0))
    step = step_of(move.sign, place, row, state.residual, state.pivots)
    column, signed, y = step
    across = jnp.take_along_axis(signed, places, axis=1)
    state = state._replace(
        columns=state.columns.at[:, state.step].set(column),
        signs=state.signs.at[:, state.step].set(move.sign),
        residual=state.residual - y[:, None] * signed,
        pivots=state.pivots - signed * column,
        noise=noise_after(const, state, step, move.sign),
        candidates=Candidates(places, rows - across[:, :, None] * column[:, None, :]),
        objective=state.objective - move.sign * y**2,
        **_support_after(const, state),
    )
    moves = state.moves + (move.sign != 0).astype(state.moves.dtype)
    return state._replace(step=state.step + 1, moves=moves)


def _support_after(const: Constants, state: State) -> dict[str, Array]:
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
        way = move.step[:, None] * (weights_of(const, state) - state.feasible)
        after["feasible"] = jnp.where(after["support"] >= 0, state.feasible + way, 0.0)
    return after
