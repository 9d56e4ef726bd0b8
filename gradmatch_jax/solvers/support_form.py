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

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gradmatch_jax.solvers.batched import apply, dot, inverse_of, matmul
from gradmatch_jax.solvers.residual_loop import (
    Constants,
    Move,
    Side,
    products,
)

DRIFT = 1e-7
REFRESH = 256  # moves between inverses made afresh, drift or none


class _System(NamedTuple):
    """The support's own system; zero in free slots."""

    support: Int[Array, "g k"]  # -1 in free slots
    left: Float[Array, "g k C"]  # the factors of its atoms
    right: Float[Array, "g k W"]
    weights: Float[Array, "g k"]
    inverse: Float[Array, "g k k"]  # P = (G_SS + lam I)^-1
    age: Int[Array, ""]  # moves since the inverse was made afresh


def _start(const: Constants, slots: int) -> _System:
    g, classes, _ = const.left.shape
    dtype = const.target.dtype
    return _System(
        support=jnp.full((g, slots), -1, jnp.int32),
        left=jnp.zeros((g, slots, classes), dtype),
        right=jnp.zeros((g, slots, const.right.shape[1]), dtype),
        weights=jnp.zeros((g, slots), dtype),
        inverse=jnp.zeros((g, slots, slots), dtype),
        age=jnp.zeros((), jnp.int32),
    )


def _solution(const: Constants, left, right, weights) -> Float[Array, "g d"]:
    """x = (t - A_S' w) / lam."""
    fitted = matmul(jnp.swapaxes(left * weights[..., None], 1, 2), right)
    return (const.target - fitted.reshape(const.target.shape)) / const.lam[:, None]


def _products(const: Constants, left, right, x) -> Float[Array, "g k"]:
    """A_S x."""
    target = x.reshape(x.shape[0], const.left.shape[1], const.right.shape[1])
    return jnp.sum(left * matmul(right, jnp.swapaxes(target, 1, 2)), axis=2)


def _follow(
    const: Constants,
    system: _System,
    x: Float[Array, "g d"],
    scores: Float[Array, "g n"],
    move: Move,
) -> tuple[_System, Float[Array, "g d"]]:
    """Border or strip the inverse, refine the weights once, renew the inverse where needed."""
    del x
    g = jnp.arange(move.sign.shape[0])
    enters, leaves, lam = move.sign > 0, move.sign < 0, const.lam
    slot = jnp.argmax(
        jnp.where(leaves[:, None], system.support == move.atom[:, None], system.support < 0), axis=1
    )
    # An entering atom: u = (e - P g) / pivot. A leaving one: its column of P over the root of P_pp.
    a_left, a_right = const.left[g, :, move.atom], const.right[g, :, move.atom]
    column = apply(system.left, a_left) * apply(system.right, a_right)
    square = jnp.sum(a_left**2, axis=1) * jnp.sum(a_right**2, axis=1)
    known = apply(system.inverse, column)
    pivot = jnp.sqrt(jnp.maximum(square + lam - dot(column, known), lam))
    border = (-known).at[g, slot].set(1.0) / pivot[:, None]
    own = jnp.sqrt(jnp.where(leaves, system.inverse[g, slot, slot], 1.0))
    strip = system.inverse[g, slot] / own[:, None]
    u = jnp.where(enters[:, None], border, strip)
    y = jnp.where(enters, lam * scores[g, move.atom] / pivot, -system.weights[g, slot] / own)
    keep = jnp.where(leaves[:, None], jnp.arange(u.shape[1])[None] != slot[:, None], True)
    inverse = system.inverse + move.sign[:, None, None] * u[:, :, None] * u[:, None, :]
    inverse = jnp.where(keep[:, :, None] & keep[:, None, :], inverse, 0.0)
    weights = system.weights + jnp.where(move.sign != 0, y, 0.0)[:, None] * u
    weights = jnp.where(keep, weights, 0.0)
    entry = enters[:, None]
    left = system.left.at[g, slot].set(jnp.where(entry, a_left, system.left[g, slot]))
    right = system.right.at[g, slot].set(jnp.where(entry, a_right, system.right[g, slot]))
    left = jnp.where(keep[:, :, None], left, 0.0)
    filled = jnp.where(enters, move.atom, system.support[g, slot])
    support = system.support.at[g, slot].set(jnp.where(leaves, -1, filled))
    return _refined(const, _System(support, left, right, weights, inverse, system.age))


def _refined(const: Constants, system: _System) -> tuple[_System, Float[Array, "g d"]]:
    support, left, right, weights, inverse, age = system

    def correction(weights, inverse):
        x = _solution(const, left, right, weights)
        miss = const.lam[:, None] * (_products(const, left, right, x) - weights)
        miss = jnp.where(support >= 0, miss, 0.0)
        return apply(inverse, miss), miss, x

    change, miss, x = correction(weights, inverse)
    energy = const.lam * dot(const.target, x)
    drifted = ~(jnp.abs(dot(change, miss)) <= DRIFT * jnp.abs(energy))
    stale = jnp.any(drifted) | (age >= REFRESH)

    def afresh(_):
        chosen = support >= 0
        gram = matmul(left, jnp.swapaxes(left, 1, 2)) * matmul(right, jnp.swapaxes(right, 1, 2))
        gram = jnp.where(chosen[:, :, None] & chosen[:, None, :], gram, 0.0)
        diagonal = jnp.where(chosen, const.lam[:, None], 1.0)
        eye = jnp.eye(gram.shape[1], dtype=gram.dtype)
        inverse = inverse_of(gram + diagonal[:, :, None] * eye[None])
        inverse = jnp.where(chosen[:, :, None] & chosen[:, None, :], inverse, 0.0)
        weights = jnp.zeros_like(miss)
        for _ in range(3):
            weights = weights + correction(weights, inverse)[0]
        return inverse, weights

    inverse, weights = lax.cond(stale, afresh, lambda w: (inverse, w), weights + change)
    system = _System(support, left, right, weights, inverse, jnp.where(stale, 0, age + 1))
    return system, _solution(const, left, right, weights)


def _score(const: Constants, system: _System, x: Float[Array, "g d"]) -> Float[Array, "g n"]:
    """On the support the weights themselves: their rounding is magnified in a_j . x."""
    scores = products(const, x)
    g, n = scores.shape
    place = jnp.where(system.support >= 0, system.support, n)  # out of range: dropped
    return scores.at[jnp.arange(g)[:, None], place].set(system.weights, mode="drop")


SUPPORT = Side(_start, _follow, _score)
