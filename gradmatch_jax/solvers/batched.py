"""Batched products and searches, written as a CPU is quick at them."""

from collections.abc import Callable
from typing import TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

_T = TypeVar("_T")

# Full float32 products: the tensor-core default (tf32) loses the small differences OMP lives on.
_HIGHEST = lax.Precision.HIGHEST
_LANES = 64


def matmul(a: Float[Array, "g p q"], b: Float[Array, "g q r"]) -> Float[Array, "g p r"]:
    """Batched product. A batch of one is done as plain matrices: twice as fast on a CPU."""
    if a.shape[0] == 1:
        return jnp.matmul(a[0], b[0], precision=_HIGHEST)[None]
    return jnp.matmul(a, b, precision=_HIGHEST)


def matmul_along(a: Float[Array, "g p n"], b: Float[Array, "g q n"]) -> Float[Array, "g p q"]:
    """Batched a b': no transposed copy of b is made, four to eight times the work on a CPU."""
    if a.shape[0] == 1:
        return jnp.einsum("pn,qn->pq", a[0], b[0], precision=_HIGHEST)[None]
    return jnp.einsum("gpn,gqn->gpq", a, b, precision=_HIGHEST)


def apply(matrix: Float[Array, "g p q"], vector: Float[Array, "g q"]) -> Float[Array, "g p"]:
    """Batched matrix times vector."""
    if matrix.shape[0] == 1:
        return jnp.matmul(matrix[0], vector[0], precision=_HIGHEST)[None]
    return jnp.einsum("gde,ge->gd", matrix, vector, precision=_HIGHEST)


def apply_from_left(
    vector: Float[Array, "g p"], matrix: Float[Array, "g p q"]
) -> Float[Array, "g q"]:
    """Batched row vector times matrix: no transposed copy of it is made."""
    if matrix.shape[0] == 1:
        return jnp.matmul(vector[0], matrix[0], precision=_HIGHEST)[None]
    return jnp.einsum("gd,gde->ge", vector, matrix, precision=_HIGHEST)


def rows_at(matrix: Float[Array, "g p q"], places: Int[Array, "g m"]) -> Float[Array, "g m q"]:
    """Rows of batched matrices, all of them within range."""
    if matrix.shape[0] == 1:
        return jnp.take(matrix[0], places[0], axis=0, mode="clip")[None]
    return jnp.take_along_axis(matrix, places[:, :, None], axis=1, mode="clip")


def columns_at(matrix: Float[Array, "g p q"], places: Int[Array, "g m"]) -> Float[Array, "g p m"]:
    """Columns of batched matrices, all of them within range."""
    if matrix.shape[0] == 1:  # row by row: five times as fast on a CPU
        return jnp.take(matrix[0], places[0], axis=1, mode="clip")[None]
    return jnp.take_along_axis(matrix, places[:, None, :], axis=2, mode="clip")


def written(
    rows: Float[Array, "g s ..."], row: Float[Array, "g ..."], place: Int[Array, ""], axis: int = 1
) -> Float[Array, "g s ..."]:
    """The rows with one of each problem's at `place`, which is not negative: no kernel asks."""
    return lax.dynamic_update_index_in_dim(rows, row, place, axis, allow_negative_indices=False)


def when(needed: Bool[Array, ""], change: Callable[[_T], _T], state: _T) -> _T:
    """`change(state)` where it is needed: a loop of at most one round, which works in place.

    What a `lax.cond` gives is copied, whichever branch gave it.
    """

    def once(at: tuple[Array, _T]) -> tuple[Array, _T]:
        return jnp.zeros_like(at[0]), change(at[1])

    return lax.while_loop(lambda at: at[0], once, (needed, state))[1]


def dot(a: Float[Array, "g d"], b: Float[Array, "g d"]) -> Float[Array, "g"]:
    """Batched scalar product."""
    return jnp.einsum("gd,gd->g", a, b, precision=_HIGHEST)


def inverse_of(system: Float[Array, "g d d"], lam: Float[Array, "g"]) -> Float[Array, "g d d"]:
    """Of lam I + A' A, by Cholesky: for products that are refined.

    Its norm is 1 / lam at most. Where rounding has taken that from the system (late exact gradients
    at lam = 1e-5 of their mean squared norm: it may not even be positive definite), its diagonal is
    raised, by the least of 1e-6, 1e-5, .. 1 of itself that mends it: corrections by an inverse that
    is too small converge, those by one that is twice too large do not.
    """
    eye = jnp.broadcast_to(jnp.eye(system.shape[-1], dtype=system.dtype), system.shape)

    def inverse(share: Array) -> Array:
        factor = jnp.linalg.cholesky(system * (1 + share[:, None, None] * eye))
        half = lax.linalg.triangular_solve(factor, eye, left_side=True, lower=True)
        return matmul(jnp.swapaxes(half, -1, -2), half)

    def sound(found: Array) -> Array:
        def power_iteration(_, vector: Array) -> Array:
            return apply(found, vector / jnp.linalg.norm(vector, axis=1, keepdims=True))

        vector = lax.fori_loop(0, 4, power_iteration, jnp.sum(found, axis=1))
        return lam * jnp.linalg.norm(vector, axis=1) <= 1.5  # not where it is nan

    def attempt(at: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        share, broken, _ = at
        found = inverse(share)
        broken = broken & ~sound(found) & (share < 1)
        return jnp.where(broken, jnp.maximum(10 * share, 1e-6), share), broken, found

    # The first attempt is the loop's too: a program half as large to compile.
    start = jnp.zeros_like(lam), jnp.ones(lam.shape, bool), jnp.zeros_like(system)
    return lax.while_loop(lambda at: jnp.any(at[1]), attempt, start)[2]


def leading(values: Float[Array, "g n"], b: int) -> Int[Array, "g b"]:
    """The b largest, or nearly: the largest of all first, then those of the other best tiles.

    A top k is a sort on a CPU, which takes as long as a thousand maxima.
    """
    g, n = values.shape
    filled = jnp.pad(values, ((0, 0), (0, -n % _LANES)), constant_values=-jnp.inf)
    tiled = filled.reshape(g, -1, _LANES)
    if tiled.shape[1] < 2 * b:
        return lax.top_k(values, b)[1].astype(jnp.int32)
    best = lax.top_k(jnp.max(tiled, axis=2), b)[1].astype(jnp.int32)
    within = jnp.argmax(jnp.take_along_axis(tiled, best[:, :, None], axis=1), axis=2)
    return best * _LANES + within.astype(jnp.int32)


def largest(values: Float[Array, "g n"]) -> Int[Array, "g"]:
    """argmax, the first of equal ones: by rows of about 64 first, many times as fast on a CPU.

    XLA's argmax is one scalar loop there; its max is vectorised.
    """
    g, n = values.shape
    lanes = _lanes(n)
    if lanes == n:
        return jnp.argmax(values, axis=1)
    tiles = values.reshape(g, n // lanes, lanes)
    tile = jnp.argmax(jnp.max(tiles, axis=2), axis=1)
    within = jnp.argmax(tiles[jnp.arange(g), tile], axis=1)
    return tile * lanes + within


def _lanes(n: int) -> int:
    """The length of the rows: 64, or of many values what is near it and divides n; else all of it.

    Not filled up to a multiple: where values are split over devices that brings them all together.
    A length is preferred of which there is a multiple of eight, so that as many devices have whole
    rows. Few values are no matter, but for what there is to compile and, on devices, to move.
    """
    if n % _LANES == 0 or n <= 16 * _LANES:
        return _LANES if n % _LANES == 0 and n > 4 * _LANES else n
    for devices in (8, 1):
        fit = [lanes for lanes in range(16, 257) if n % (devices * lanes) == 0]
        if fit:
            return min(fit, key=lambda lanes: abs(lanes - _LANES))
    return n
