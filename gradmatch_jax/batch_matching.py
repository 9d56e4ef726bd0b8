"""GRAD-MATCHPB: whole mini-batches as atoms (paper, section 2, "GRAD-MATCH for mini-batch SGD")."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.matching import Fill, LamScale, Options, check_problem, check_target
from gradmatch_jax.omp import match
from gradmatch_jax.selection import (
    Selection,
    compact,
    empty_selection,
    fill_slots,
    pad,
    single_group,
)


def select_batches(
    gradients: LastLayerGradients,
    budget: int,
    batch_size: int,
    *,
    key: PRNGKeyArray,
    target: Array | None = None,
    lam: float | Array = 0.5,
    lam_scale: LamScale = "absolute",
    eps: float = 1e-10,
    nonnegative: bool = True,
    fill: Fill = "random",
) -> Selection:
    """GRAD-MATCHPB: match the target with mean gradients of random mini-batches (paper, section 2).

    The examples are shuffled into batches of `batch_size`, as even as they come; whole batches are
    selected, and a batch's weight is shared by its members, so that sum_i w_i g_i over the examples
    returned is the match. The lightest batch is cut so that exactly `budget` examples come back.
    Arguments and errors as `select_subset`.
    """
    n = check_problem(gradients, budget, lam, lam_scale, fill)
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}")
    options = Options(eps, nonnegative, lam_scale == "relative", fill == "random")
    if target is not None:
        target = check_target(gradients, single_group(n, 0), target, True, "exact")[0]
    selection = _select_batches(gradients, target, lam, key, min(budget, n), batch_size, options)
    return pad(selection, budget)


@partial(jax.jit, static_argnames=("budget", "batch_size", "options"))
def _select_batches(gradients, target, lam, key, budget, batch_size, options) -> Selection:
    n = gradients.features.shape[0]
    if budget == 0:
        return empty_selection(0)
    shuffle_key, fill_key = jax.random.split(key)
    batches = even_batches(shuffle_key, n, batch_size)
    count = batches.shape[0]
    if target is None:
        target = gr.weighted_sum(gradients, jnp.ones(n))
    gram, correlations = gr.batch_gram(gradients, batches, target)
    lam = jnp.asarray(lam, gram.dtype)
    if options.relative:
        lam = lam * jnp.mean(jnp.diagonal(gram))
    picks = batches_for(budget, n, count)
    support, batch_weights = match(
        gram[None], correlations[None], jnp.sum(target**2)[None], jnp.ones((1, count), bool),
        jnp.asarray([picks]), picks, lam[None], eps=options.eps, nonnegative=options.nonnegative,
    )  # fmt: skip
    indices, weights = to_members(batches, support[0], batch_weights[0], budget)
    matched = jnp.sum(indices >= 0)
    if options.fill:
        indices, weights = (
            x[0]
            for x in fill_slots(
                indices[None], weights[None], jnp.ones((1, n), bool), jnp.asarray([budget]),
                jax.random.uniform(fill_key, (1, n)),
            )
        )  # fmt: skip
    error = gr.matching_error(gradients, indices, weights, target)
    return Selection(indices, weights, jnp.sum(indices >= 0), matched, error)


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
