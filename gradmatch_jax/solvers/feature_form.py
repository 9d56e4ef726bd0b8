"""The feature form of orthogonal matching pursuit: a rank-one update of a d x d matrix a move.

The ridge problem min_w ‖A_S' w - t‖² + lam ‖w‖² has two sides. With M = lam I + A_S' A_S and
x = M^-1 t,

    t - A_S' w = lam x,      a_j . x = w_j on the support,      E_lam(S) = lam t . x,

so that one product with all atoms gives the weights of the support and the residual correlations
(over lam) of the others: the atom of largest score enters, and one whose own score turns negative
leaves. The one whose weight reaches zero first on the way from the last feasible weights leaves
first (Lawson & Hanson 1974), so that departures end at non-negative least squares. Either move is
M <- M ± a_j a_j', whatever the size of the support: O(n d + d²), no k x k system, no Gram matrix.

Numbers. M spans lam to the largest squared singular value, which float32 does not hold: at lam =
1e-3 of the mean squared norm, and 300 early gradients of one class of MNIST, its rounding is as
large as lam. The atoms are therefore turned first into the eigenbasis of their second moments, a
factor at a time. M is then graded, a small direction's entries are small, and their rounding is
relative to them: what counts is the condition of M scaled to a unit diagonal. M^-1 is kept by
rank-one updates, every solution is refined once with M itself, and where that correction shows that
M^-1 has drifted (energy above `DRIFT` of the solution's) it is made afresh by Cholesky.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.atoms import Atoms
from gradmatch_jax.solvers.problem import RUNNING, Matched, Problem, StopReason

_HIGHEST = lax.Precision.HIGHEST
DRIFT = 1e-7
REFRESH = 64  # moves between inverses made afresh, drift or none


class _State(NamedTuple):
    """State of the loop, for every problem of the batch."""

    system: Float[Array, "g d d"]  # M
    inverse: Float[Array, "g d d"]
    solution: Float[Array, "g d"]  # x
    scores: Float[Array, "g n"]  # a_j . x
    chosen: Bool[Array, "g n"]
    order: Int[Array, "g n"]  # the move that chose it
    feasible: Float[Array, "g n"]  # the last non-negative weights, on their way to the scores
    moves: Int[Array, "g"]
    age: Int[Array, ""]  # moves since the inverse was made afresh
    reasons: Int[Array, "g"]


class _Constants(NamedTuple):
    """What the loop reads, for every problem of the batch."""

    left: Float[Array, "g C n"]  # the atoms' factors, an atom a column: half the time of rows
    right: Float[Array, "g W n"]
    target: Float[Array, "g d"]
    lam: Float[Array, "g"]
    free: Bool[Array, "g n"]
    budgets: Int[Array, "g"]
    spread: Float[Array, "g d"]  # mean square of each coordinate over the atoms
    rounding: Float[Array, "g n"]  # of a score, per unit of the root of spread . x²
    eps: float
    nonnegative: bool


class _Move(NamedTuple):
    """The next move of each problem."""

    atom: Int[Array, "g"]
    sign: Float[Array, "g"]  # +1 it enters, -1 it leaves, 0 none
    step: Float[Array, "g"]  # how far the feasible weights go
    reasons: Int[Array, "g"]


def pursue(problem: Problem, max_budget: int, *, eps: float, nonnegative: bool) -> Matched:
    """OMP on a batch of problems given by their atoms; lam > 0.

    A lam below the rounding of the atoms' squared norms is taken as that.
    """
    assert problem.atoms is not None
    assert problem.target is not None
    atoms, target = _turn(problem.atoms, problem.target)
    machine = float(jnp.finfo(target.dtype).eps)
    squares = jnp.where(problem.free, atoms.squares(), 0.0)
    lam = jnp.maximum(problem.lam, machine * jnp.max(squares, axis=1))
    lam = jnp.where(lam > 0, lam, 1.0)
    share = problem.free / jnp.maximum(jnp.sum(problem.free, axis=1, keepdims=True), 1)
    mean = jnp.sum(share * squares, axis=1, keepdims=True)
    spread = jnp.einsum(
        "gnc,gnw->gcw", atoms.left**2 * share[..., None], atoms.right**2, precision=_HIGHEST
    )
    rounding = 4 * machine * jnp.sqrt(squares / jnp.where(mean > 0, mean, 1.0))
    const = _Constants(
        jnp.swapaxes(atoms.left, 1, 2), jnp.swapaxes(atoms.right, 1, 2),
        target, lam, problem.free, problem.budgets, spread.reshape(target.shape), rounding,
        eps, nonnegative,
    )  # fmt: skip
    state = lax.while_loop(
        lambda s: jnp.any(s.reasons == RUNNING), lambda s: _advance(const, s), _start(const)
    )
    return _answer(const, state, max_budget)


def _turn(atoms: Atoms, target: Float[Array, "g ..."]) -> tuple[Atoms, Float[Array, "g d"]]:
    """Atoms and target in the eigenbasis of the atoms' second moments, a factor at a time."""
    left, right = atoms
    target = target.reshape(target.shape[0], left.shape[-1], right.shape[-1])
    if left.shape[-1] == 1:  # the whole atom is the right factor
        left, right = jnp.ones_like(left), left * right
    else:
        basis = _eigenbasis(left, jnp.sum(right**2, axis=-1))
        left = jnp.matmul(left, basis, precision=_HIGHEST)
        target = jnp.matmul(jnp.swapaxes(basis, -1, -2), target, precision=_HIGHEST)
    basis = _eigenbasis(right, jnp.sum(left**2, axis=-1))
    right = jnp.matmul(right, basis, precision=_HIGHEST)
    target = jnp.matmul(target, basis, precision=_HIGHEST)
    return Atoms(left, right), target.reshape(target.shape[0], -1)


def _eigenbasis(factor: Float[Array, "g n w"], weights: Float[Array, "g n"]) -> Array:
    weighted = factor * weights[..., None]
    moments = jnp.matmul(jnp.swapaxes(weighted, -1, -2), factor, precision=_HIGHEST)
    return jnp.linalg.eigh(moments)[1]


def _products(const: _Constants, x: Float[Array, "g d"]) -> Float[Array, "g n"]:
    """a_i . x of all atoms."""
    target = x.reshape(-1, const.left.shape[1], const.right.shape[1])
    return jnp.sum(const.left * _matmul(target, const.right), axis=1)


def _rows(const: _Constants, j: Int[Array, "g"]) -> Float[Array, "g d"]:
    g = jnp.arange(j.shape[0])
    left, right = const.left[g, :, j], const.right[g, :, j]
    return (left[:, :, None] * right[:, None, :]).reshape(j.shape[0], -1)


def _matmul(a: Float[Array, "g p q"], b: Float[Array, "g q r"]) -> Float[Array, "g p r"]:
    """Batched product. A batch of one is done as plain matrices: twice as fast on a CPU."""
    if a.shape[0] == 1:
        return jnp.matmul(a[0], b[0], precision=_HIGHEST)[None]
    return jnp.matmul(a, b, precision=_HIGHEST)


def _apply(matrix: Float[Array, "g d d"], vector: Float[Array, "g d"]) -> Float[Array, "g d"]:
    if matrix.shape[0] == 1:
        return jnp.matmul(matrix[0], vector[0], precision=_HIGHEST)[None]
    return jnp.einsum("gde,ge->gd", matrix, vector, precision=_HIGHEST)


def _dot(a: Float[Array, "g d"], b: Float[Array, "g d"]) -> Float[Array, "g"]:
    return jnp.einsum("gd,gd->g", a, b, precision=_HIGHEST)


def _start(const: _Constants) -> _State:
    g, d = const.target.shape
    eye = jnp.broadcast_to(jnp.eye(d, dtype=const.target.dtype), (g, d, d))
    lam = const.lam[:, None]
    solution = const.target / lam
    count = jnp.zeros(g, jnp.int32)
    return _State(
        system=lam[:, :, None] * eye,
        inverse=eye / lam[:, :, None],
        solution=solution,
        scores=_products(const, solution),
        chosen=jnp.zeros(const.free.shape, bool),
        order=jnp.zeros(const.free.shape, jnp.int32),
        feasible=jnp.zeros(const.free.shape, const.target.dtype),
        moves=count,
        age=jnp.zeros((), jnp.int32),
        reasons=jnp.full_like(count, RUNNING),
    )


def _next_move(const: _Constants, state: _State) -> _Move:
    """A departure where a weight has turned negative, else the best pick, else a reason to stop."""
    rounding = const.rounding * jnp.sqrt(_dot(const.spread, state.solution**2))[:, None]
    scores, chosen, g = state.scores, state.chosen, jnp.arange(state.moves.shape[0])
    gain = scores if const.nonnegative else jnp.abs(scores)
    gain = jnp.where(const.free & ~chosen & (gain > rounding), gain, -jnp.inf)
    atom = jnp.argmax(gain, axis=1)
    objective = const.lam * _dot(const.target, state.solution)
    size = jnp.sum(chosen, axis=1)
    limit = 4 * const.budgets + 4
    leaving, step = jnp.zeros_like(atom, bool), jnp.ones_like(objective)
    if const.nonnegative:
        negative = chosen & (scores < -rounding)
        way = jnp.where(
            negative, state.feasible / jnp.where(negative, state.feasible - scores, 1.0), jnp.inf
        )
        first = jnp.argmin(way, axis=1)
        leaving = jnp.any(negative, axis=1)
        atom, step = jnp.where(leaving, first, atom), jnp.where(leaving, way[g, first], step)
    stop = jnp.select(
        [
            state.reasons != RUNNING,
            state.moves >= limit,
            leaving,
            size >= const.budgets,
            objective < const.eps,
            jnp.isneginf(gain[g, atom]),
        ],
        [
            state.reasons,
            *(
                jnp.full_like(state.reasons, reason)
                for reason in (
                    StopReason.MOVE_LIMIT,
                    RUNNING,
                    StopReason.BUDGET,
                    StopReason.EPS,
                    StopReason.NOTHING_LEFT,
                )
            ),
        ],
        jnp.full_like(state.reasons, RUNNING),
    )
    sign = jnp.where(leaving, -1.0, 1.0) * (stop == RUNNING)
    return _Move(atom.astype(jnp.int32), sign.astype(step.dtype), step, stop)


def _advance(const: _Constants, state: _State) -> _State:
    """One move of every problem that is not done."""
    g = jnp.arange(state.moves.shape[0])
    move = _next_move(const, state)
    sign, enters = move.sign, move.sign > 0
    row = _rows(const, move.atom)
    direction = _apply(state.inverse, row)
    scale = sign / (1 + sign * _dot(row, direction))
    system = state.system + sign[:, None, None] * row[:, :, None] * row[:, None, :]
    inverse = state.inverse - scale[:, None, None] * direction[:, :, None] * direction[:, None, :]
    solution = state.solution - (scale * state.scores[g, move.atom])[:, None] * direction
    inverse, solution, age = _refine(const, system, inverse, solution, state.age)
    feasible = state.feasible + move.step[:, None] * (state.scores - state.feasible)
    moved = sign != 0
    keep = jnp.where(moved, enters, state.chosen[g, move.atom])
    order = jnp.where(moved, state.moves, state.order[g, move.atom])
    return _State(
        system=system,
        inverse=inverse,
        solution=solution,
        scores=_products(const, solution),
        chosen=state.chosen.at[g, move.atom].set(keep),
        order=state.order.at[g, move.atom].set(order),
        feasible=jnp.where(state.chosen, feasible, 0.0).at[g, move.atom].set(0.0),
        moves=state.moves + moved,
        age=age,
        reasons=move.reasons,
    )


def _refine(const: _Constants, system, inverse, solution, age):
    """One step of iterative refinement, with a fresh inverse where this one has drifted."""
    miss = const.target - _apply(system, solution)
    correction = _apply(inverse, miss)
    energy = _dot(solution, const.target)
    drifted = ~(jnp.abs(_dot(correction, miss)) <= DRIFT * jnp.abs(energy))
    stale = jnp.any(drifted) | (age >= REFRESH)

    def afresh(_):
        inverse = _inverse_of(system)
        solution = _apply(inverse, const.target)
        for _ in range(2):
            solution = solution + _apply(inverse, const.target - _apply(system, solution))
        return inverse, solution

    inverse, solution = lax.cond(
        stale, afresh, lambda solution: (inverse, solution), solution + correction
    )
    return inverse, solution, jnp.where(stale, 0, age + 1)


def _inverse_of(system: Float[Array, "g d d"]) -> Float[Array, "g d d"]:
    eye = jnp.broadcast_to(jnp.eye(system.shape[-1], dtype=system.dtype), system.shape)
    factor = jnp.linalg.cholesky(system)
    half = lax.linalg.triangular_solve(factor, eye, left_side=True, lower=True)
    return jnp.matmul(jnp.swapaxes(half, -1, -2), half, precision=_HIGHEST)


def _answer(const: _Constants, state: _State, max_budget: int) -> Matched:
    """The support in pick order with its weights; those of weight 0 are dropped."""
    kept = state.chosen & (state.scores > 0) if const.nonnegative else state.chosen
    latest = jnp.iinfo(jnp.int32).max
    width = min(max_budget, kept.shape[1])
    _, positions = lax.top_k(-jnp.where(kept, state.order, latest), width)
    kept = jnp.take_along_axis(kept, positions, axis=1)
    weights = jnp.where(kept, jnp.take_along_axis(state.scores, positions, axis=1), 0.0)
    room = ((0, 0), (0, max_budget - width))
    positions = jnp.where(kept, positions, -1).astype(jnp.int32)
    return Matched(
        jnp.pad(positions, room, constant_values=-1), jnp.pad(weights, room), state.reasons
    )
