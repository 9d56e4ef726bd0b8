"""The loop of a pursuit on residuals: what the feature form and the support form share.

With r = t - A_S' w and x = r / lam, the optimality of w reads

    a_j . x = w_j on the support,      E_lam(S) = lam t . x,

so that one product with all atoms gives the weights of the support and the residual correlations
(over lam) of the others: the atom of largest score enters, and one whose own score turns negative
leaves (`moves`). How x follows a move is the business of a `Side`.

Scores are made of x afresh at every move, in the space of the atoms: no small correlation drowns in
the rounding of the first ones, as it does where correlations are updated. Where lam is small the
atoms are turned into the eigenbasis of their second moments, a factor at a time, which keeps a
system of their coordinates graded: a small direction's entries are small, and so is their rounding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.atoms import AtomColumns, Atoms
from gradmatch_jax.solvers.batched import dot
from gradmatch_jax.solvers.moves import Move, Standing, Weights, next_move
from gradmatch_jax.solvers.problem import LEAST_LAM, RUNNING, Matched, Problem

_HIGHEST = lax.Precision.HIGHEST


class Constants(NamedTuple):
    """What the loop reads, for every problem of the batch."""

    columns: AtomColumns
    target: Float[Array, "g d"]
    lam: Float[Array, "g"]
    free: Bool[Array, "g n"]
    budgets: Int[Array, "g"]
    spread: Float[Array, "g d"]  # mean square of each coordinate over the atoms
    rounding: Float[Array, "g n"]  # of a score, per unit of the root of spread . x²
    eps: float
    nonnegative: bool


class Side(NamedTuple):
    """How x = (t - A_S' w) / lam follows the support.

    Its system is in two parts: the settled one is read by a move, never written.

    start: (constants, slots) -> (settled, recent), for an empty support.
    follow: (constants, settled, recent, x, scores, move) -> (recent, x, due): due where the system
        must be settled before the next move.
    settle: (constants, settled, recent, x) -> (settled, recent, x).
    score: (constants, recent, x) -> a_j . x of all atoms; on the support, the weights.
    """

    start: Callable[[Constants, int], tuple[Any, Any]]
    follow: Callable[[Constants, Any, Any, Array, Array, Move], tuple[Any, Array, Array]]
    settle: Callable[[Constants, Any, Any, Array], tuple[Any, Any, Array]]
    score: Callable[[Constants, Any, Array], Array]


class _State(NamedTuple):
    """State of the loop, for every problem of the batch."""

    recent: Any  # the side's own
    due: Bool[Array, ""]
    solution: Float[Array, "g d"]  # x
    scores: Float[Array, "g n"]  # a_j . x
    chosen: Bool[Array, "g n"]
    order: Int[Array, "g n"]  # the move that chose it
    feasible: Float[Array, "g n"]  # the last non-negative weights, on their way to the scores
    moves: Int[Array, "g"]
    reasons: Int[Array, "g"]


def pursue(
    problem: Problem, max_budget: int, side: Side, *, eps: float, nonnegative: bool
) -> Matched:
    """OMP on a batch of problems given by their atoms; lam > 0.

    A lam below the rounding of the atoms' squared norms is taken as that. The answer has the whole
    support, in pick order, with its scores for weights: those of w = a . r / lam, which are as
    good as the residual is small beside lam w; `pursuit` solves for them again where it is not.
    """
    assert problem.atoms is not None
    assert problem.target is not None
    assert problem.counts is None  # of mini-batches alone, which the Gram form matches
    dtype = problem.atoms.left.dtype
    free = problem.free.astype(dtype)
    machine = float(jnp.finfo(dtype).eps)
    squares = free * problem.atoms.squares()
    lam = jnp.maximum(problem.lam, machine * jnp.max(squares, axis=1))
    lam = jnp.where(lam > 0, lam, 1.0)
    share = free / jnp.maximum(jnp.sum(free, axis=1, keepdims=True), 1)
    mean = jnp.sum(share * squares, axis=1, keepdims=True)
    atoms, target = lax.cond(
        jnp.any(lam < LEAST_LAM * mean[:, 0]), _turned, _whole, problem.atoms, problem.target, free
    )
    rounding = 4 * machine * jnp.sqrt(squares / jnp.where(mean > 0, mean, 1.0))
    const = Constants(
        AtomColumns(*(jnp.swapaxes(x, 1, 2) for x in atoms)),
        target, lam, problem.free, problem.budgets,
        atoms.spread(problem.free).reshape(target.shape), rounding,
        eps, nonnegative,
    )  # fmt: skip
    solution, none = target / lam[:, None], jnp.zeros_like(problem.budgets)
    settled, recent = side.start(const, max_budget)
    start = _State(
        recent=recent,
        due=jnp.zeros((), bool),
        solution=solution,
        scores=products(const, solution),
        chosen=jnp.zeros(free.shape, bool),
        order=jnp.zeros(free.shape, none.dtype),
        feasible=jnp.zeros_like(free),
        moves=none,
        reasons=jnp.full_like(none, RUNNING),
    )
    _, end = lax.while_loop(
        lambda carry: jnp.any(carry[1].reasons == RUNNING),
        lambda carry: _settle(const, side, carry[0], _stretch(const, side, *carry)),
        (settled, start),
    )
    return _answer(end, max_budget)


def _stretch(const: Constants, side: Side, settled: Any, state: _State) -> _State:
    """Moves until the system is due, or all is done."""
    return lax.while_loop(
        lambda state: jnp.any(state.reasons == RUNNING) & ~state.due,
        lambda state: _advance(const, side, settled, state),
        state,
    )


def _settle(const: Constants, side: Side, settled: Any, state: _State) -> tuple[Any, _State]:
    settled, recent, solution = side.settle(const, settled, state.recent, state.solution)
    scores = side.score(const, recent, solution)
    due = jnp.zeros((), bool)
    return settled, state._replace(recent=recent, due=due, solution=solution, scores=scores)


def _advance(const: Constants, side: Side, settled: Any, state: _State) -> _State:
    """One move of every problem that is not done."""
    g = jnp.arange(state.moves.shape[0])
    move = _next_move(const, state)
    recent, solution, due = side.follow(
        const, settled, state.recent, state.solution, state.scores, move
    )
    feasible = state.feasible + move.step[:, None] * (state.scores - state.feasible)
    moved = move.sign != 0
    keep = jnp.where(moved, move.sign > 0, state.chosen[g, move.atom])
    order = jnp.where(moved, state.moves, state.order[g, move.atom])
    return _State(
        recent=recent,
        due=due,
        solution=solution,
        scores=side.score(const, recent, solution),
        chosen=state.chosen.at[g, move.atom].set(keep),
        order=state.order.at[g, move.atom].set(order),
        feasible=jnp.where(state.chosen, feasible, 0.0).at[g, move.atom].set(0.0),
        moves=state.moves + moved.astype(state.moves.dtype),
        reasons=move.reasons,
    )


def _next_move(const: Constants, state: _State) -> Move:
    """The next move by the scores: at their place a departure and a pick are the same atom's."""
    rounding = const.rounding * jnp.sqrt(dot(const.spread, state.solution**2))[:, None]
    scores, chosen = state.scores, state.chosen
    gain = scores if const.nonnegative else jnp.abs(scores)
    gain = jnp.where(const.free & ~chosen & (gain > rounding), gain, -jnp.inf)
    weights = Weights(scores, state.feasible, chosen & (scores < -rounding))
    size = jnp.sum(chosen, axis=1, dtype=state.moves.dtype)
    small = const.lam * dot(const.target, state.solution) < const.eps
    standing = Standing(state.reasons, state.moves, size >= const.budgets, const.budgets, small)
    return next_move(gain, weights if const.nonnegative else None, standing)


def _answer(state: _State, max_budget: int) -> Matched:
    """The support in pick order with its weights."""
    latest = jnp.iinfo(jnp.int32).max
    width = min(max_budget, state.chosen.shape[1])
    _, positions = lax.top_k(-jnp.where(state.chosen, state.order, latest), width)
    kept = jnp.take_along_axis(state.chosen, positions, axis=1)
    weights = jnp.where(kept, jnp.take_along_axis(state.scores, positions, axis=1), 0.0)
    room = ((0, 0), (0, max_budget - width))
    positions = jnp.where(kept, positions, -1).astype(jnp.int32)
    return Matched(
        jnp.pad(positions, room, constant_values=-1), jnp.pad(weights, room), state.reasons
    )


def _whole(
    atoms: Atoms, target: Float[Array, "g ..."], free: Float[Array, "g n"]
) -> tuple[Atoms, Float[Array, "g d"]]:
    """Atoms of one left factor as right factors; the target as one row."""
    del free
    left, right = atoms
    if left.shape[-1] == 1:
        atoms = Atoms(jnp.ones_like(left), left * right)
    return atoms, target.reshape(target.shape[0], -1)


def _turned(
    atoms: Atoms, target: Float[Array, "g ..."], free: Float[Array, "g n"]
) -> tuple[Atoms, Float[Array, "g d"]]:
    """Atoms and target in the eigenbasis of the atoms' second moments, a factor at a time."""
    (left, right), target = _whole(atoms, target, free)
    target = target.reshape(target.shape[0], left.shape[-1], right.shape[-1])
    if left.shape[-1] > 1:
        basis = _eigenbasis(left, jnp.sum(right**2, axis=-1) * free)
        left = jnp.matmul(left, basis, precision=_HIGHEST)
        target = jnp.matmul(jnp.swapaxes(basis, -1, -2), target, precision=_HIGHEST)
    basis = _eigenbasis(right, jnp.sum(left**2, axis=-1) * free)
    right = jnp.matmul(right, basis, precision=_HIGHEST)
    target = jnp.matmul(target, basis, precision=_HIGHEST)
    return Atoms(left, right), target.reshape(target.shape[0], -1)


def _eigenbasis(factor: Float[Array, "g n w"], weights: Float[Array, "g n"]) -> Array:
    weighted = factor * weights[..., None]
    moments = jnp.matmul(jnp.swapaxes(weighted, -1, -2), factor, precision=_HIGHEST)
    return jnp.linalg.eigh(moments)[1]


def products(const: Constants, x: Float[Array, "g d"]) -> Float[Array, "g n"]:
    """a_i . x of all atoms."""
    left, right = const.columns
    return const.columns.products(x.reshape(x.shape[0], left.shape[1], right.shape[1]))


def row(const: Constants, j: Int[Array, "g"]) -> Float[Array, "g d"]:
    """a_j as one vector of coordinates."""
    left, right = const.columns.take(j[:, None])
    return (left[:, 0, :, None] * right[:, 0, None, :]).reshape(j.shape[0], -1)
