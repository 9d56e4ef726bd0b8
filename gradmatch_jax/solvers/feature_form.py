"""The feature form of orthogonal matching pursuit: a rank-one update of a d x d matrix a move.

The ridge problem min_w ‖A_S' w - t‖² + lam ‖w‖² has two sides. With M = lam I + A_S' A_S,
x = M^-1 t is what `residual_loop` needs, and a move is M <- M ± a_j a_j', whatever the size of the
support: O(n d + d²), no k x k system, no Gram matrix.

Numbers. M spans lam to the largest squared singular value, which float32 does not hold: at lam =
1e-3 of the mean squared norm, and 300 early gradients of one class of MNIST, its rounding is as
large as lam. In the atoms' own eigenbasis M is graded, and what counts is its condition scaled to a
unit diagonal. M^-1 is kept by rank-one updates, every solution is refined once with M itself, and
where that correction shows that M^-1 has drifted (its energy above `DRIFT` of the solution's) the
inverse is made afresh.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gradmatch_jax.solvers.batched import apply, dot, inverse_of
from gradmatch_jax.solvers.residual_loop import (
    Constants,
    Move,
    Side,
    products,
    row,
)

DRIFT = 1e-7
REFRESH = 256  # moves between inverses made afresh, drift or none


class _System(NamedTuple):
    """M and what solves with it."""

    matrix: Float[Array, "g d d"]
    inverse: Float[Array, "g d d"]
    age: Int[Array, ""]  # moves since the inverse was made afresh


def _start(const: Constants, slots: int) -> _System:
    del slots
    g, d = const.target.shape
    eye = jnp.broadcast_to(jnp.eye(d, dtype=const.target.dtype), (g, d, d))
    lam = const.lam[:, None, None]
    return _System(lam * eye, eye / lam, jnp.zeros((), jnp.int32))


def _follow(
    const: Constants,
    system: _System,
    x: Float[Array, "g d"],
    scores: Float[Array, "g n"],
    move: Move,
) -> tuple[_System, Float[Array, "g d"]]:
    """Sherman-Morrison for M^-1 and x, one step of refinement, and a fresh inverse where needed."""
    sign, atom = move.sign, row(const, move.atom)
    direction = apply(system.inverse, atom)
    scale = sign / (1 + sign * dot(atom, direction))
    matrix = system.matrix + sign[:, None, None] * atom[:, :, None] * atom[:, None, :]
    change = scale[:, None, None] * direction[:, :, None] * direction[:, None, :]
    inverse = system.inverse - change
    score = scores[jnp.arange(sign.shape[0]), move.atom]
    x = x - (scale * score)[:, None] * direction
    miss = const.target - apply(matrix, x)
    correction = apply(inverse, miss)
    drifted = ~(jnp.abs(dot(correction, miss)) <= DRIFT * jnp.abs(dot(x, const.target)))
    stale = jnp.any(drifted) | (system.age >= REFRESH)

    def afresh(_):
        inverse = inverse_of(matrix)
        x = apply(inverse, const.target)
        for _ in range(2):
            x = x + apply(inverse, const.target - apply(matrix, x))
        return inverse, x

    inverse, x = lax.cond(stale, afresh, lambda x: (inverse, x), x + correction)
    return _System(matrix, inverse, jnp.where(stale, 0, system.age + 1)), x


def _score(const: Constants, system: _System, x: Float[Array, "g d"]) -> Float[Array, "g n"]:
    del system
    return products(const, x)


FEATURES = Side(_start, _follow, _score)
