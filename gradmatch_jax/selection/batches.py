"""Mini-batches as atoms: what GRAD-MATCHPB and CRAIGPB share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.selection.result import compact


def batches_for(budget: int, n: int, count: int) -> int:
    """How many of `count` even batches hold `budget` of n examples: enough of the smaller ones."""
    return min(count, -(-budget // (n // count)))


def to_members(
    batches: Int[Array, "b size"], support: Int[Array, "p"], weights: Float[Array, "p"], budget: int
) -> tuple[Int[Array, "budget"], Float[Array, "budget"]]:
    """The examples of the chosen batches, at most `budget`, each with its share of the weight.

    A batch's members have its weight in equal shares, so that sum_i w_i g_i is the weighted sum of
    the batch means. The lightest batch is cut to meet the budget; what is left of it shares its
    weight.
    """
    order = jnp.argsort(-jnp.abs(weights), stable=True)
    support, weights = support[order], weights[order]
    members = jnp.where((support >= 0)[:, None], batches[support], -1)
    rank = jnp.cumsum(members.reshape(-1) >= 0).reshape(members.shape)
    members = jnp.where(rank <= budget, members, -1)
    sizes = jnp.sum(members >= 0, axis=1, keepdims=True)
    shared = jnp.where(members >= 0, weights[:, None] / jnp.maximum(sizes, 1), 0.0)
    return compact(members, shared, budget)


def even_batches(key: PRNGKeyArray, n: int, batch_size: int) -> Int[Array, "b size"]:
    """Shuffle n examples into round(n / batch_size) batches whose sizes differ by at most one.

    Padded with -1. No ragged last batch: every batch's mean then has the same noise.
    """
    count = max(1, round(n / batch_size))
    width = -(-n // count)
    long = n - (width - 1) * count  # batches of `width`; the others have one less
    order = jax.random.permutation(key, n).astype(jnp.int32)
    full = order[: long * width].reshape(long, width)
    rest = order[long * width :].reshape(count - long, width - 1)
    rest = jnp.pad(rest, ((0, 0), (0, 1)), constant_values=-1)
    return jnp.concatenate([full, rest])
