"""GRAD-MATCHPB: whole mini-batches as atoms (paper, section 2, "GRAD-MATCH for mini-batch SGD")."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.batches import batches_for, even_batches, to_members
from gradmatch_jax.selection.groups import single_group
from gradmatch_jax.selection.ranking import fill_slots
from gradmatch_jax.selection.result import Selection, empty_selection, pad
from gradmatch_jax.selection.subset import Fill, LamScale, Options, check_problem, check_target
from gradmatch_jax.solvers.pursuit import match


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
