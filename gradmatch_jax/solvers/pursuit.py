"""Orthogonal matching pursuit on Gram matrices (paper, Algorithm 2): pick, then weigh.

    E_lam(S) = min over w   ‖A_S' w - t‖² + lam ‖w‖²      over supports |S| <= k

`greedy` finds the support without solving anything; `least_squares` gives the weights on it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Number, as_floats
from gradmatch_jax.inputs.values import as_budget, as_flag, as_number
from gradmatch_jax.solvers.gram_form import greedy_support
from gradmatch_jax.solvers.least_squares import nonnegative_ridge, ridge


class OMPResult(NamedTuple):
    """Atoms chosen by OMP."""

    indices: Int[Array, "k"]  # padded with -1
    weights: Float[Array, "k"]  # padded with 0
    size: Int[Array, ""]  # how many entries are real
    objective: Float[Array, ""]  # E_lam of `indices` and `weights`


def match(
    gram: Float[Array, "g n n"],
    correlations: Float[Array, "g n"],
    target_sq_norm: Float[Array, "g"],
    free: Bool[Array, "g n"],
    budgets: Int[Array, "g"],
    max_budget: int,
    lam: Float[Array, "g"],
    *,
    eps: float,
    nonnegative: bool,
) -> tuple[Int[Array, "g k"], Float[Array, "g k"]]:
    """OMP on a batch of problems: (positions, weights), matched ones first, -1 and 0 behind.

    The weights are solved for afresh on the support: it costs little and leaves none of the loop's
    rounding error in them. Atoms whose non-negative weight is 0 are not matched: they are dropped.
    """
    support = greedy_support(
        gram, correlations, target_sq_norm, free, budgets, max_budget,
        lam=lam, eps=eps, nonnegative=nonnegative,
    )  # fmt: skip
    g = jnp.arange(gram.shape[0])[:, None]
    chosen = support >= 0
    support_gram = gram[g[:, :, None], support[:, :, None], support[:, None, :]]
    solve = nonnegative_ridge if nonnegative else ridge
    weights = jax.vmap(solve)(support_gram, correlations[g, support], chosen, lam)
    kept = chosen & (weights > 0) if nonnegative else chosen
    place = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, max_budget)  # the rest is dropped
    positions = jnp.full_like(support, -1).at[g, place].set(support, mode="drop")
    return positions, jnp.zeros_like(weights).at[g, place].set(weights, mode="drop")


def omp(
    gram: ArrayLike,
    correlations: ArrayLike,
    target_sq_norm: Number,
    budget: Count,
    *,
    lam: Number = 0.5,
    eps: Number = 1e-10,
    nonnegative: bool = True,
) -> OMPResult:
    """Orthogonal matching pursuit on one Gram problem (paper, Algorithm 2).

    gram: G = A A' of the atoms; correlations: c = A t; target_sq_norm: ‖t‖².
    budget: how many atoms at most, exactly k (the listing's `|X| <= k` would take k + 1).
    lam: ridge penalty, absolute as in the paper. lam = 0 is allowed: an atom that is a combination
      of the chosen ones is then never picked.
    eps: stop once E_lam < eps. In float32 E_lam is known to about 1e-7 ‖t‖² in the loop.
    nonnegative: weights >= 0; False picks by |correlation|, which is the listing.

    Fewer than `budget` atoms come back where nothing more is to be gained. `objective` is E_lam of
    the returned weights. Works under `jit` (budget, eps and nonnegative static) and in any float
    dtype; for many problems use `match`, which advances them in one loop, rather than `vmap`.
    """
    gram = as_floats("gram", gram, (None, None))
    n = gram.shape[0]
    if gram.shape != (n, n):
        raise UserError(f"gram must be a square matrix, not of shape {gram.shape}")
    correlations = as_floats("correlations", correlations, (n,)).astype(gram.dtype)
    target_sq_norm, lam = as_number("target_sq_norm", target_sq_norm), as_number("lam", lam)
    budget, eps = as_budget(budget, None, n), as_number("eps", eps, static=True)
    nonnegative = as_flag("nonnegative", nonnegative)
    return _omp(gram, correlations, target_sq_norm, budget, lam, eps, nonnegative)


@partial(jax.jit, static_argnames=("budget", "eps", "nonnegative"))
def _omp(gram, correlations, target_sq_norm, budget, lam, eps, nonnegative) -> OMPResult:
    n = gram.shape[0]
    target = jnp.asarray(target_sq_norm, gram.dtype)
    lam = jnp.asarray(lam, gram.dtype)
    if min(budget, n) == 0:
        empty = jnp.full(budget, -1, jnp.int32), jnp.zeros(budget, gram.dtype)
        return OMPResult(*empty, jnp.zeros((), jnp.int32), target)
    k = min(budget, n)
    positions, weights = match(
        gram[None], correlations[None], target[None], jnp.ones((1, n), bool),
        jnp.full(1, k), k, lam[None], eps=eps, nonnegative=nonnegative,
    )  # fmt: skip
    s, w = positions[0], weights[0]
    fitted = jnp.matmul(gram[s[:, None], s[None, :]], w, precision=lax.Precision.HIGHEST)
    gained = 2 * correlations[s] - fitted - lam * w
    objective = target - jnp.dot(w, gained, precision=lax.Precision.HIGHEST)
    indices = jnp.pad(s, (0, budget - k), constant_values=-1)
    return OMPResult(indices, jnp.pad(w, (0, budget - k)), jnp.sum(s >= 0), objective)
