"""Choosing by score: the best of each group, the fill of a shortfall, uniform draws."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gradmatch_jax.solvers.atoms import Atoms
from gradmatch_jax.solvers.least_squares import (
    nonnegative_ridge,
    nonnegative_ridge_of_rows,
    ridge,
    ridge_of_rows,
)

EVEN = 0.5  # share of as many equal weights that is steady enough


def rank_by_score(
    scores: Float[Array, "g m"], free: Bool[Array, "g m"], count: int
) -> Int[Array, "g count"]:
    """Positions of the `count` largest scores among the free ones, best first, -1 past them."""
    _, order = jax.lax.top_k(jnp.where(free, scores, -jnp.inf), min(count, scores.shape[1]))
    ranked = jnp.where(jnp.take_along_axis(free, order, axis=1), order, -1)
    return jnp.pad(ranked, ((0, 0), (0, count - ranked.shape[1])), constant_values=-1)


def fill_slots(
    positions: Int[Array, "g k"],
    weights: Float[Array, "g k"],
    valid: Bool[Array, "g m"],
    budgets: Int[Array, "g"],
    scores: Float[Array, "g m"],
) -> tuple[Int[Array, "g k"], Float[Array, "g k"]]:
    """Fill what is left of each group's budget with its best-scored members not yet chosen.

    Chosen positions must come first in each row, -1 behind. Matching stopped because more weight
    would only worsen it, so a filled example counts at most once, as in the sum over all data: it
    gets weight 1, or the mean weight of its group's matched ones if that is less (an absolute lam
    shrinks them as training goes on). A group with none matched gets m_g / k_g throughout: what
    each of k_g examples stands for.
    """
    g, k = positions.shape
    rows = jnp.arange(g)[:, None]
    matched = positions >= 0
    count = jnp.sum(matched, axis=1, dtype=jnp.int32)
    taken = jnp.zeros(valid.shape, bool).at[rows, positions].max(matched)
    fill = rank_by_score(scores, valid & ~taken, k)
    slot = jnp.arange(k, dtype=jnp.int32)[None, :]
    is_fill = (slot >= count[:, None]) & (slot < budgets[:, None])
    from_fill = jnp.take_along_axis(fill, jnp.clip(slot - count[:, None], 0, k - 1), axis=1)
    dtype = weights.dtype
    mean = jnp.sum(jnp.abs(weights), axis=1) / jnp.maximum(count, 1).astype(dtype)
    stands_for = jnp.sum(valid, axis=1).astype(dtype) / jnp.maximum(budgets, 1).astype(dtype)
    fill_weight = jnp.where(count > 0, jnp.minimum(mean, 1.0), stands_for)
    return (
        jnp.where(is_fill, from_fill, positions),
        jnp.where(is_fill, fill_weight[:, None], weights),
    )


def calibrated(
    chosen: Atoms,
    real: Bool[Array, "g k"],
    valid: Bool[Array, "g m"],
    target: Float[Array, "g C W"],
    lam: Float[Array, "g"],
    nonnegative: bool,
) -> Float[Array, "g k"]:
    """Weights of matched and filled examples together, as near to a fair sample's as match allows.

    A full match is weighed anew too. Where lam outweighs the squared norms that ends near d, far
    from the match: choose a relative lam, or another fill, for gradients as small as that.

        minimise over w (>= 0)   ‖A_S' w - t‖² + lam ‖w - d‖²,   d = m / |S|
        w = d + A_S (lam I + A_S' A_S)^-1 (t - A_S' d)   where no weight turns negative

    d is what each of |S| of m examples stands for, the design weight of a sample. Survey
    statistics calls this calibration (Deville & Särndal 1992).
    """
    count = jnp.maximum(jnp.sum(real, axis=1), 1).astype(target.dtype)
    share = jnp.sum(valid, axis=1).astype(target.dtype) / count
    centre = jnp.where(real, share[:, None], 0.0)
    g, k = real.shape
    d = target[0].size
    lam = jnp.maximum(lam, _least_lam(chosen))
    if d > k:  # the smaller of the two systems
        system = chosen.gram(), chosen.products(target) + lam[:, None] * centre, real, lam
        solve = (lambda *args: nonnegative_ridge(*args).weights) if nonnegative else ridge
        return jax.vmap(solve)(*system)
    rows = (chosen.left[..., :, None] * chosen.right[..., None, :]).reshape(g, k, d)
    system = rows, target.reshape(g, d), centre, real, lam
    solve = nonnegative_ridge_of_rows if nonnegative else ridge_of_rows
    return jax.vmap(lambda *args: solve(*args).weights)(*system)


@jax.jit
def uneven(weights: Float[Array, "*slots"]) -> Bool[Array, ""]:
    """Whether the weights of a selection, 0 where there is none, are worth too few equal ones.

    They are worth (sum w)² / sum w² (Kish 1965). An epoch on a few heavy examples takes long
    steps, which can end a network for good.
    """
    size = jnp.abs(weights)
    count = jnp.sum(size > 0).astype(size.dtype)
    return jnp.sum(size) ** 2 < EVEN * count * jnp.sum(size**2)


def _least_lam(atoms: Atoms) -> Float[Array, "g"]:
    """The rounding of squared norms: below it a system with lam = 0 cannot be factorised."""
    squares = atoms.squares()
    floor = jnp.finfo(squares.dtype).eps * jnp.sum(squares, axis=1)
    return jnp.where(floor > 0, floor, 1.0)


def draw(key: PRNGKeyArray, n: int, budget: int) -> Int[Array, "budget"]:
    """`budget` of n examples, uniformly without replacement."""
    return jax.random.permutation(key, n)[:budget].astype(jnp.int32)
