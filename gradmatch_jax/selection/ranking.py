"""Choosing by score: the best of each group, the fill of a shortfall, uniform draws."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


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
    count = jnp.sum(matched, axis=1)
    taken = jnp.zeros(valid.shape, bool).at[rows, positions].max(matched)
    fill = rank_by_score(scores, valid & ~taken, k)
    slot = jnp.arange(k)[None, :]
    is_fill = (slot >= count[:, None]) & (slot < budgets[:, None])
    from_fill = jnp.take_along_axis(fill, jnp.clip(slot - count[:, None], 0, k - 1), axis=1)
    mean = jnp.sum(jnp.abs(weights), axis=1) / jnp.maximum(count, 1)
    stands_for = jnp.sum(valid, axis=1) / jnp.maximum(budgets, 1)
    fill_weight = jnp.where(count > 0, jnp.minimum(mean, 1.0), stands_for)
    return (
        jnp.where(is_fill, from_fill, positions),
        jnp.where(is_fill, fill_weight[:, None], weights),
    )


def draw(key: PRNGKeyArray, n: int, budget: int) -> Int[Array, "budget"]:
    """`budget` of n examples, uniformly without replacement."""
    return jax.random.permutation(key, n)[:budget].astype(jnp.int32)
