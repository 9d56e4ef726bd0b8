"""Regularised least squares on a chosen support, with or without non-negative weights.

    minimise over w   ‖A_S' w - t‖² + lam ‖w‖²      (optionally w >= 0)

given only the Gram matrix of the support G_S = A_S A_S' and its correlations c_S = A_S t. Every
function works on one problem and is batched by `jax.vmap`; padded slots are masked out.
"""

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
) -> Float[Array, "k"]:
    """Argmin over w >= 0 of w'(G + lam I)w - 2 c'w, on `support`; zero elsewhere.

    Block principal pivoting (Portugal, Judice & Vicente 1994; Kim & Park 2011): solve on the
    passive set, exchange every entry that breaks w >= 0 or the gradient condition, and fall back
    to Murty's single exchange when full exchanges stop helping, which makes it finite. Each
    iteration is one masked Cholesky solve; a handful is usual.
    """
    k = gram.shape[0]
    eps = jnp.finfo(gram.dtype).eps
    # Sign conditions hold to the resolution of the numbers they compare.
    slack = 10 * eps * jnp.max(jnp.abs(jnp.where(support, correlations, 0.0)), initial=0.0)

    def exchange(state: _Pivoting) -> _Pivoting:
        weights = ridge(gram, correlations, state.passive, lam)
        product = jnp.matmul(gram, weights, precision=lax.Precision.HIGHEST)
        gradient = correlations - product - lam * weights
        negative = state.passive & (weights < 0)
        improvable = support & ~state.passive & (gradient > slack)
        wrong = negative | improvable
        count = jnp.sum(wrong)
        better = count < state.fewest
        patience = jnp.where(better, 3, state.patience - 1)
        last = jnp.arange(k) == jnp.max(jnp.where(wrong, jnp.arange(k), -1))
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
        weights=jnp.zeros(k, gram.dtype),
        infeasible=support,
        fewest=jnp.asarray(k + 1),
        patience=jnp.asarray(3),
        steps=jnp.asarray(0),
    )
    end = lax.while_loop(lambda s: jnp.any(s.infeasible) & (s.steps < 3 * k + 10), exchange, start)
    return jnp.maximum(end.weights, 0.0)
