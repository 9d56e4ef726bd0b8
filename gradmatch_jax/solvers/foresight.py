"""Which remainders the Gram form will need: its next moves, tried among a few atoms.

A remainder costs a pass over all columns, many at once hardly more; so those of the next moves are
wanted together. The atoms of largest residual correlation now are a poor guess where atoms are
long: each pick changes all correlations. So the loop itself is run ahead on the rows and columns of
the atoms nearest to a move. By the recursion of `gram_form` a move changes a residual correlation,
or a weight, by no more than the root of its pivot times |y|: how far it is from the largest, or
from zero, is counted in that root. What is foreseen is only made ready: the loop decides by all.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.batched import apply, apply_from_left
from gradmatch_jax.solvers.gram_columns import Constants, State, entries_at, step_of, weights_of
from gradmatch_jax.solvers.moves import Standing, Weights, next_move

# Atoms that are looked at.
AMONG = 384


class _Near(NamedTuple):
    """The loop's state at the nearest places: atoms, and places of picks, those to come too."""

    residual: Float[Array, "g m"]
    pivots: Float[Array, "g m"]
    columns: Float[Array, "g b m"]  # of the moves so far
    signs: Float[Array, "g b"]
    may: Bool[Array, "g m"]  # enter
    taken: Bool[Array, "g m"]  # places of picks that are in
    feasible: Float[Array, "g m"]
    foreseen: Int[Array, "g b"]


def foreseen(const: Constants, state: State, count: int) -> Int[Array, "g b"]:
    """The places of the next `count` moves, as far as the nearest atoms know; the next one first.

    Args:
        const: what the loop reads.
        state: with its next move.
        count: moves.
    """
    may = const.problem.free & ~state.chosen
    g, n = jnp.arange(may.shape[0])[:, None], may.shape[1]
    slots = state.columns.shape[2] - n
    places = _nearest(const, state, may)
    first = places.shape[1]
    if const.nonnegative:
        places = jnp.concatenate([places, _to_come(state, n, count)], axis=1)
    atom, tolerance = jnp.minimum(places, n - 1), _tolerance(const, state)
    columns = entries_at(state, places)
    rounding = const.rounding[g, atom]
    noise = jnp.maximum(const.noise[g, atom], state.noise[g, places])
    rows = _rows(const, places)
    standing = Standing(
        state.move.reasons, jnp.zeros_like(state.moves), jnp.zeros_like(state.moves, bool),
        jnp.ones_like(state.moves), jnp.zeros_like(state.moves, bool),
    )  # fmt: skip

    def one(i: Int[Array, ""], near: _Near) -> _Near:
        gain = near.residual if const.nonnegative else jnp.abs(near.residual)
        gain = jnp.where(near.may & (gain > rounding) & (near.pivots > noise), gain, -jnp.inf)
        now = jnp.where(near.taken, -near.residual, 0.0)
        weights = Weights(now, near.feasible, now < -tolerance)
        move = next_move(gain, weights if const.nonnegative else None, standing)
        j, one_of = move.atom, g[:, 0]
        row = rows(j) - apply(columns, state.signs * columns[one_of, j])
        row = row - apply_from_left(near.signs * near.columns[one_of, :, j], near.columns)
        taken = near.taken
        if const.nonnegative:
            row = row.at[:, first + i].set(jnp.maximum(move.sign, 0.0))
            taken = taken.at[one_of, j].set(taken[one_of, j] & (move.sign > 0))
            taken = taken.at[:, first + i].set(move.sign > 0)
        column, signed, y = step_of(move.sign, j, row, near.residual, near.pivots)
        way = move.step[:, None] * (now - near.feasible)
        return _Near(
            residual=near.residual - y[:, None] * signed,
            pivots=near.pivots - signed * column,
            columns=near.columns.at[:, i].set(column),
            signs=near.signs.at[:, i].set(move.sign),
            may=near.may.at[one_of, j].set(False),
            taken=taken,
            feasible=jnp.where(taken, near.feasible + way, 0.0),
            foreseen=near.foreseen.at[:, i].set(places[one_of, j]),
        )

    def at(values: Array) -> Array:
        return jnp.take_along_axis(values, places, axis=1)

    residual = at(state.residual)
    none = jnp.zeros((len(g), count), residual.dtype)
    start = _Near(
        residual=residual,
        pivots=at(state.pivots),
        columns=jnp.zeros((*none.shape, places.shape[1]), residual.dtype),
        signs=none,
        may=at(_wide(may, slots)),
        taken=at(_wide(jnp.zeros_like(may), slots, state.support >= 0)),
        feasible=at(_wide(jnp.zeros_like(const.correlations), slots, state.feasible)),
        foreseen=jnp.zeros(none.shape, jnp.int32),
    )
    # What the loop waits for is there, whatever became of it here.
    return lax.fori_loop(0, count, one, start).foreseen.at[:, 0].set(state.place)


def _wide(of_atoms: Array, slots: int, of_picks: Array | None = None) -> Array:
    """Values of all places: of the atoms, and behind them of the picks' places."""
    if of_picks is None or slots == 0:
        return jnp.pad(of_atoms, ((0, 0), (0, slots)))
    return jnp.concatenate([of_atoms, of_picks], axis=1)


def _nearest(const: Constants, state: State, may: Bool[Array, "g n"]) -> Int[Array, "g m"]:
    """The places nearest to a move, that of the next one first."""
    n, slots = may.shape[1], state.columns.shape[2] - may.shape[1]
    gain = state.residual[:, :n]
    gain = gain if const.nonnegative else jnp.abs(gain)
    top = jnp.max(jnp.where(may, gain, 0.0), axis=1, keepdims=True)
    far = jnp.pad(
        jnp.where(may, top - gain, jnp.inf), ((0, 0), (0, slots)), constant_values=jnp.inf
    )
    if const.nonnegative:
        weights = jnp.where(state.support >= 0, weights_of(const, state), jnp.inf)
        far = far.at[:, n:].set(weights)
    far = far / jnp.sqrt(jnp.maximum(jnp.abs(state.pivots), jnp.finfo(far.dtype).tiny))
    far = far.at[jnp.arange(len(far)), state.place].set(-jnp.inf)
    return lax.top_k(-far, min(AMONG, far.shape[1]))[1].astype(jnp.int32)


def _to_come(state: State, n: int, count: int) -> Int[Array, "g b"]:
    """The places of the next picks; the last column's where there are none."""
    last = state.columns.shape[2] - 1
    places = jnp.minimum(n + state.step + jnp.arange(count, dtype=jnp.int32), last)
    return jnp.broadcast_to(places, (state.place.shape[0], count))


def _tolerance(const: Constants, state: State) -> Float[Array, "g 1"]:
    now = weights_of(const, state) if const.nonnegative else state.residual[:, :1]
    return 8 * jnp.finfo(now.dtype).eps * jnp.max(jnp.abs(now), axis=1, keepdims=True)


def _rows(const: Constants, places: Int[Array, "g m"]):
    """The rows of the bordered matrix at `places`, in those columns, as a function of which one."""
    g, n = jnp.arange(places.shape[0]), const.correlations.shape[1]
    atoms, known = jnp.minimum(places, n - 1), places < n
    near = None if const.space is None else const.space.atoms.at(atoms)

    def rows(j: Int[Array, "g"]) -> Float[Array, "g m"]:
        if near is None:
            assert const.problem.gram is not None
            row = const.problem.gram[g[:, None], atoms[g, j][:, None], atoms]
        else:
            left, right = (apply(x, x[g, j]) for x in near)
            row = left * right
        return jnp.where(known & known[g, j][:, None], row, 0.0)

    return rows
