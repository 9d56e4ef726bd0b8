"""The support form of orthogonal matching pursuit: a k x k system, and no Gram matrix of all atoms.

For atoms longer than the support is large (k < d: exact gradients) the other side of the ridge
problem is the smaller one: w = (G_SS + lam I)^-1 A_S t, whose inverse a move borders by one row or
strips of one. Only the columns of G that the support needs are made, from the atoms' factors; the
residual t - A_S' w is taken in the space of the atoms, so that w is refined by what it really
misses: on an exact support a_j . x = w_j, and the difference times lam is the residual of the
normal equations.

Numbers. G_SS + lam I spans lam to k times the mean squared norm, and no basis of the atoms grades
it: below lam of about 1e-4 of the mean squared norm float32 cannot tell it from a singular matrix,
and the feature form is the one to use.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.batched import apply, dot, inverse_of, matmul
from gradmatch_jax.solvers.moves import Move
from gradmatch_jax.solvers.residual_loop import Constants, Side, products
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
    """P = (G_SS + lam I)^-1 but for the moves since, zero in free slots."""

    inverse: Float[Array, "g k k"]
    age: Int[Array, ""]  # moves since it was made afresh


class _Recent(NamedTuple):
    """The support, and the moves since P was settled."""

    support: Int[Array, "g k"]  # -1 in free slots
    left: Float[Array, "g k C"]  # the factors of its atoms; anything in free slots
    right: Float[Array, "g k W"]
    weights: Float[Array, "g k"]  # zero in free slots
    inverse: Updates
    moves: Int[Array, ""]
    drifted: Bool[Array, ""]


def _start(const: Constants, slots: int) -> tuple[_Settled, _Recent]:
    g, classes, _ = const.columns.left.shape
    dtype = const.target.dtype
    inverse = jnp.zeros((g, slots, slots), dtype)
    recent = _Recent(
        support=jnp.full((g, slots), -1, jnp.int32),
        left=jnp.zeros((g, slots, classes), dtype),
        right=jnp.zeros((g, slots, const.columns.right.shape[1]), dtype),
        weights=jnp.zeros((g, slots), dtype),
        inverse=none(inverse),
        moves=jnp.zeros((), jnp.int32),
        drifted=jnp.zeros((), bool),
    )
    return _Settled(inverse, jnp.zeros((), jnp.int32)), recent


def _solution(const: Constants, left, right, weights) -> Float[Array, "g d"]:
    """x = (t - A_S' w) / lam."""
    fitted = matmul(jnp.swapaxes(left * weights[..., None], 1, 2), right)
    return (const.target - fitted.reshape(const.target.shape)) / const.lam[:, None]


def _products(const: Constants, left, right, x) -> Float[Array, "g k"]:
    """A_S x."""
    target = x.reshape(x.shape[0], const.columns.left.shape[1], const.columns.right.shape[1])
    return jnp.sum(left * matmul(right, jnp.swapaxes(target, 1, 2)), axis=2)


def _follow(
    const: Constants,
    settled: _Settled,
    recent: _Recent,
    x: Float[Array, "g d"],
    scores: Float[Array, "g n"],
    move: Move,
) -> tuple[_Recent, Float[Array, "g d"], Bool[Array, ""]]:
    """Border or strip the inverse, and refine the weights once."""
    del x
    g = jnp.arange(move.sign.shape[0])
    enters, leaves, lam = move.sign > 0, move.sign < 0, const.lam
    support, left, right, weights, inverse, place, _ = recent
    slot = jnp.argmax(
        jnp.where(leaves[:, None], support == move.atom[:, None], support < 0), axis=1
    )
    # An entering atom: u = (e - P g) / pivot. A leaving one: its column of P over the root of P_pp.
    # Both are one product with P: of g, or of e.
    a_left, a_right = const.columns.left[g, :, move.atom], const.columns.right[g, :, move.atom]
    column = apply(left, a_left) * apply(right, a_right)
    own = jax.nn.one_hot(slot, support.shape[1], dtype=weights.dtype)
    column = jnp.where(leaves[:, None], own, jnp.where(support >= 0, column, 0.0))
    known = product(settled.inverse, inverse, column)
    square = jnp.sum(a_left**2, axis=1) * jnp.sum(a_right**2, axis=1)
    pivot = jnp.sqrt(jnp.maximum(square + lam - dot(column, known), lam))
    root = jnp.sqrt(jnp.where(leaves, known[g, slot], 1.0))
    u = jnp.where(leaves[:, None], known / root[:, None], (own - known) / pivot[:, None])
    y = jnp.where(leaves, -weights[g, slot] / root, lam * scores[g, move.atom] / pivot)
    weights = weights + jnp.where(move.sign != 0, y, 0.0)[:, None] * u
    entering = enters[:, None]
    left = left.at[g, slot].set(jnp.where(entering, a_left, left[g, slot]))
    right = right.at[g, slot].set(jnp.where(entering, a_right, right[g, slot]))
    filled = jnp.where(enters, move.atom, support[g, slot])
    support = support.at[g, slot].set(jnp.where(leaves, -1, filled))
    weights = jnp.where(support >= 0, weights, 0.0)
    inverse = owe(inverse, place, u, move.sign)
    recent = _Recent(support, left, right, weights, inverse, place + 1, recent.drifted)
    change, miss, x = _correction(const, recent, partial(product, settled.inverse, inverse))
    energy = const.lam * dot(const.target, x)
    drifted = jnp.any(~(jnp.abs(dot(change, miss)) <= DRIFT * jnp.abs(energy)))
    recent = recent._replace(weights=weights + change, drifted=drifted)
    # The row and column of one that left are zero but for rounding: settled, they are zero.
    due = drifted | jnp.any(leaves) | (recent.moves == OWED)
    return recent, _solution(const, left, right, recent.weights), due


def _correction(
    const: Constants, recent: _Recent, inverse: Callable[[Array], Array]
) -> tuple[Float[Array, "g k"], Float[Array, "g k"], Float[Array, "g d"]]:
    """What the weights miss, the normal equations' residual, and their x."""
    x = _solution(const, recent.left, recent.right, recent.weights)
    own = _products(const, recent.left, recent.right, x)
    taken = recent.support >= 0
    miss = jnp.where(taken, const.lam[:, None] * (own - recent.weights), 0.0)
    return jnp.where(taken, inverse(miss), 0.0), miss, x


def _settle(
    const: Constants, settled: _Settled, recent: _Recent, x: Float[Array, "g d"]
) -> tuple[_Settled, _Recent, Float[Array, "g d"]]:
    """The moves since written into the inverse; a fresh one where it is needed."""
    del x
    age = settled.age + recent.moves
    stale = recent.drifted | (age > REFRESH - OWED)
    taken = recent.support >= 0
    both = taken[:, :, None] & taken[:, None, :]

    def afresh():
        left, right = recent.left, recent.right
        gram = matmul(left, jnp.swapaxes(left, 1, 2)) * matmul(right, jnp.swapaxes(right, 1, 2))
        ridge = const.lam[:, None, None] * jnp.eye(gram.shape[1], dtype=gram.dtype)[None]
        inverse = inverse_of(jnp.where(both, gram, 0.0) + ridge, const.lam)
        inverse = jnp.where(both, inverse, 0.0)
        again = recent._replace(weights=jnp.zeros_like(recent.weights))
        for _ in range(3):
            change, _, _ = _correction(const, again, partial(apply, inverse))
            again = again._replace(weights=again.weights + change)
        return inverse, again.weights

    def kept():
        return jnp.where(both, paid(settled.inverse, recent.inverse), 0.0), recent.weights

    inverse, weights = lax.cond(stale, afresh, kept)
    recent = recent._replace(
        weights=weights, inverse=none(inverse), moves=jnp.zeros((), jnp.int32),
        drifted=jnp.zeros((), bool),
    )  # fmt: skip
    settled = _Settled(inverse, jnp.where(stale, 0, age))
    return settled, recent, _solution(const, recent.left, recent.right, weights)


def _score(const: Constants, recent: _Recent, x: Float[Array, "g d"]) -> Float[Array, "g n"]:
    """On the support the weights themselves: their rounding is magnified in a_j . x."""
    scores = products(const, x)
    g, n = scores.shape
    place = jnp.where(recent.support >= 0, recent.support, n)  # out of range: dropped
    return scores.at[jnp.arange(g)[:, None], place].set(recent.weights, mode="drop")


SUPPORT = Side(_start, _follow, _settle, _score)
