"""Regularised least squares on a chosen support, with or without non-negative weights.

    minimise over w   ‖A_S' w - t‖² + lam ‖w‖²      (optionally w >= 0)

given the Gram matrix of the support G_S = A_S A_S' and its correlations c_S = A_S t, or the atoms
themselves. Every function works on one problem and is batched by `jax.vmap`; padded slots are
masked out.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


def ridge(
    gram: Float[Array, "k k"],
    correlations: Float[Array, "k"],
    support: Bool[Array, "k"],
    lam: Float[Array, ""] | float,
) -> Float[Array, "k"]:
    """w = (G_SS + lam I)^-1 c_S on `support`, zero elsewhere, by Cholesky.

    One step of iterative refinement follows: in float32 it buys back the digits that the
    condition number of G_SS + lam I costs.
    """
    both = support[:, None] & support[None, :]
    system = jnp.where(both, gram, 0.0)
    # A floor under lam keeps the factorisation defined where lam is 0 and G_SS barely positive
    # definite; it is below the resolution of the diagonal otherwise.
    diagonal = jnp.where(support, jnp.diagonal(gram), 0.0)
    floor = jnp.finfo(gram.dtype).eps * jnp.max(diagonal, initial=0.0)
    shift = jnp.where(support, jnp.maximum(lam, floor), 1.0)
    system = system + jnp.diag(shift)
    rhs = jnp.where(support, correlations, 0.0)
    factor = jax.scipy.linalg.cho_factor(system, lower=True)
    weights = jax.scipy.linalg.cho_solve(factor, rhs)
    residual = rhs - jnp.matmul(system, weights, precision=lax.Precision.HIGHEST)
    weights = weights + jax.scipy.linalg.cho_solve(factor, residual)
    return jnp.where(support, weights, 0.0)


class Solved(NamedTuple):
    """Non-negative weights, and whether the exchanges ended by themselves."""

    weights: Float[Array, "k"]
    finished: Bool[Array, ""]


class _Pivoting(NamedTuple):
    """State of block principal pivoting."""

    passive: Bool[Array, "k"]  # weights free to be positive
    weights: Float[Array, "k"]  # least squares on the passive set before the last exchange
    infeasible: Bool[Array, "k"]  # entries of it that break a sign condition
    fewest: Int[Array, ""]  # fewest infeasible entries seen
    patience: Int[Array, ""]  # full exchanges still allowed without progress
    steps: Int[Array, ""]


def nonnegative_ridge(
    gram: Float[Array, "k k"],
    correlations: Float[Array, "k"],
    support: Bool[Array, "k"],
    lam: Float[Array, ""] | float,
) -> Solved:
    """Argmin over w >= 0 of w'(G + lam I)w - 2 c'w, on `support`; zero elsewhere.

    By block principal pivoting; each iteration is one masked Cholesky solve, a handful is usual.
    """
    eps = jnp.finfo(gram.dtype).eps
    # Sign conditions hold to the resolution of the numbers they compare.
    slack = 10 * eps * jnp.max(jnp.abs(jnp.where(support, correlations, 0.0)), initial=0.0)

    def solve(passive):
        weights = ridge(gram, correlations, passive, lam)
        product = jnp.matmul(gram, weights, precision=lax.Precision.HIGHEST)
        return weights, correlations - product - lam * weights

    return _pivot(solve, support, slack)


def nonnegative_ridge_of_rows(
    rows: Float[Array, "k d"],
    target: Float[Array, "d"],
    centre: Float[Array, "k"],
    support: Bool[Array, "k"],
    lam: Float[Array, ""],
) -> Solved:
    """Argmin over w >= 0 of ‖rows' w - target‖² + lam ‖w - centre‖², on `support`; lam > 0.

    On a passive set P, w = centre + rows x with (lam I + rows_P' rows_P) x = target - rows_P'
    centre_P; outside it, centre + rows x is the gain of entering, over lam.
    """
    scale = jnp.max(jnp.abs(jnp.where(support, centre, 0.0)), initial=0.0)
    slack = 10 * jnp.finfo(rows.dtype).eps * scale

    def solve(passive):
        x = _features(rows, target, centre, passive, lam)
        weights = centre + jnp.matmul(rows, x, precision=lax.Precision.HIGHEST)
        return jnp.where(passive, weights, 0.0), jnp.where(passive, 0.0, weights)

    return _pivot(solve, support, slack)


def ridge_of_rows(
    rows: Float[Array, "k d"],
    target: Float[Array, "d"],
    centre: Float[Array, "k"],
    support: Bool[Array, "k"],
    lam: Float[Array, ""],
) -> Solved:
    """`nonnegative_ridge_of_rows` without the sign."""
    x = _features(rows, target, centre, support, lam)
    weights = centre + jnp.matmul(rows, x, precision=lax.Precision.HIGHEST)
    return Solved(jnp.where(support, weights, 0.0), jnp.ones((), bool))


def _features(rows, target, centre, passive, lam) -> Float[Array, "d"]:
    """x of `nonnegative_ridge_of_rows` on one passive set, refined once."""
    rows = jnp.where(passive[:, None], rows, 0.0)
    eye = jnp.eye(rows.shape[1], dtype=rows.dtype)
    system = lam * eye + jnp.matmul(rows.T, rows, precision=lax.Precision.HIGHEST)
    rhs = target - jnp.matmul(rows.T, centre, precision=lax.Precision.HIGHEST)
    factor = jax.scipy.linalg.cho_factor(system, lower=True)
    x = jax.scipy.linalg.cho_solve(factor, rhs)
    miss = rhs - jnp.matmul(system, x, precision=lax.Precision.HIGHEST)
    return x + jax.scipy.linalg.cho_solve(factor, miss)


def _pivot(
    solve: Callable[[Bool[Array, "k"]], tuple[Float[Array, "k"], Float[Array, "k"]]],
    support: Bool[Array, "k"],
    slack: Float[Array, ""],
) -> Solved:
    """Block principal pivoting (Portugal, Judice & Vicente 1994; Kim & Park 2011).

    `solve` gives the weights on a passive set and the gradient outside it. Every entry that breaks
    w >= 0 or the gradient condition is exchanged; where full exchanges stop helping, Murty's single
    exchange makes it finite.
    """
    k = support.shape[0]
    places = jnp.arange(k, dtype=jnp.int32)

    def exchange(state: _Pivoting) -> _Pivoting:
        weights, gradient = solve(state.passive)
        negative = state.passive & (weights < 0)
        improvable = support & ~state.passive & (gradient > slack)
        wrong = negative | improvable
        count = jnp.sum(wrong, dtype=jnp.int32)
        better = count < state.fewest
        patience = jnp.where(better, 3, state.patience - 1)
        last = places == jnp.max(jnp.where(wrong, places, -1))
        swapped = jnp.where(better | (patience >= 0), wrong, last)
        return _Pivoting(
            passive=state.passive ^ swapped,
            weights=weights,
            infeasible=wrong,
            fewest=jnp.minimum(state.fewest, count),
            patience=patience,
            steps=state.steps + 1,
        )

    start = _Pivoting(
        passive=support,
        weights=jnp.zeros(k, slack.dtype),
        infeasible=support,
        fewest=jnp.asarray(k + 1, jnp.int32),
        patience=jnp.asarray(3, jnp.int32),
        steps=jnp.asarray(0, jnp.int32),
    )
    end = lax.while_loop(lambda s: jnp.any(s.infeasible) & (s.steps < 3 * k + 10), exchange, start)
    return Solved(jnp.maximum(end.weights, 0.0), ~jnp.any(end.infeasible))
