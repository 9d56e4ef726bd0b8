"""The feature form of orthogonal matching pursuit: a d x d system, and a rank-one update a move.

The ridge problem min_w ‖A_S' w - t‖² + lam ‖w‖² has two sides. With M = lam I + A_S' A_S,
x = M^-1 t is what `residual_loop` needs, and a move is M <- M ± a_j a_j', whatever the size of the
support: O(n d + d²), no k x k system, no Gram matrix.

Numbers. M spans lam to the largest squared singular value, which float32 does not hold: at lam =
1e-3 of the mean squared norm, and 300 early gradients of one class of MNIST, its rounding is as
large as lam. In the atoms' own eigenbasis M is graded, and what counts is its condition scaled to a
unit diagonal. M^-1 is kept by rank-one updates (`updated`), every solution is refined once with M
itself, and where that correction shows that M^-1 has drifted (its energy above `DRIFT` of the
solution's) the inverse is made afresh.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.batched import apply, dot, inverse_of
from gradmatch_jax.solvers.moves import Move
from gradmatch_jax.solvers.residual_loop import Constants, Side, products, row
from gradmatch_jax.solvers.updated import (
    DRIFT,
    OWED,
    REFRESH,
    Updates,
    none,
    owe,
    paid,
    product,
)


class _Settled(NamedTuple):
    """M and what solves with it, but for the moves since."""

    matrix: Float[Array, "g d d"]
    inverse: Float[Array, "g d d"]
    age: Int[Array, ""]  # moves since the inverse was made afresh


class _Recent(NamedTuple):
    """The moves since."""

    matrix: Updates
    inverse: Updates
    moves: Int[Array, ""]
    drifted: Bool[Array, ""]


def _none(like: Float[Array, "g d d"]) -> _Recent:
    return _Recent(none(like), none(like), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def _start(const: Constants, slots: int) -> tuple[_Settled, _Recent]:
    del slots
    g, d = const.target.shape
    eye = jnp.broadcast_to(jnp.eye(d, dtype=const.target.dtype), (g, d, d))
    lam = const.lam[:, None, None]
    settled = _Settled(lam * eye, eye / lam, jnp.zeros((), jnp.int32))
    return settled, _none(settled.matrix)


def _follow(
    const: Constants,
    settled: _Settled,
    recent: _Recent,
    x: Float[Array, "g d"],
    scores: Float[Array, "g n"],
    move: Move,
) -> tuple[_Recent, Float[Array, "g d"], Bool[Array, ""]]:
    """Sherman-Morrison for M^-1 and x, and one step of refinement."""
    sign, atom, place = move.sign, row(const, move.atom), recent.moves
    direction = product(settled.inverse, recent.inverse, atom)
    scale = sign / (1 + sign * dot(atom, direction))
    score = scores[jnp.arange(sign.shape[0]), move.atom]
    x = x - (scale * score)[:, None] * direction
    # This move's own updates apart: what is written into is not read, and so not copied.
    miss = const.target - product(settled.matrix, recent.matrix, x)
    miss = miss - (sign * dot(atom, x))[:, None] * atom
    correction = product(settled.inverse, recent.inverse, miss)
    correction = correction - (scale * dot(direction, miss))[:, None] * direction
    matrix = owe(recent.matrix, place, atom, sign)
    inverse = owe(recent.inverse, place, direction, -scale)
    drifted = jnp.any(~(jnp.abs(dot(correction, miss)) <= DRIFT * jnp.abs(dot(x, const.target))))
    recent = _Recent(matrix, inverse, place + 1, drifted)
    return recent, x + correction, drifted | (recent.moves == OWED)


def _settle(
    const: Constants, settled: _Settled, recent: _Recent, x: Float[Array, "g d"]
) -> tuple[_Settled, _Recent, Float[Array, "g d"]]:
    """The moves since written into M and its inverse; a fresh inverse where it is needed."""
    matrix, age = paid(settled.matrix, recent.matrix), settled.age + recent.moves
    stale = recent.drifted | (age > REFRESH - OWED)

    def afresh():
        inverse = inverse_of(matrix, const.lam)
        x = apply(inverse, const.target)
        for _ in range(2):
            x = x + apply(inverse, const.target - apply(matrix, x))
        return inverse, x

    inverse, x = lax.cond(stale, afresh, lambda: (paid(settled.inverse, recent.inverse), x))
    return _Settled(matrix, inverse, jnp.where(stale, 0, age)), _none(matrix), x


def _score(const: Constants, recent: _Recent, x: Float[Array, "g d"]) -> Float[Array, "g n"]:
    del recent
    return products(const, x)


FEATURES = Side(_start, _follow, _settle, _score)
