"""GRAD-MATCHPB: whole mini-batches as atoms (paper, section 2, "GRAD-MATCH for mini-batch SGD")."""

from functools import partial

import jax
import jax.numpy as jnp

from gradmatch_jax import gradients as gr
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Key, Number, as_key
from gradmatch_jax.inputs.atoms import as_factored, as_target
from gradmatch_jax.inputs.values import as_count
from gradmatch_jax.selection.batches import batches_for, even_batches, to_members
from gradmatch_jax.selection.ranking import fill_slots
from gradmatch_jax.selection.result import Selection, empty_selection, pad
from gradmatch_jax.selection.subset import as_options, as_problem
from gradmatch_jax.solvers.options import Fill, LamScale
from gradmatch_jax.solvers.pursuit import match


def select_batches(
    gradients: ArrayLike,
    budget: Count | None = None,
    batch_size: Count = 128,
    *,
    key: Key | None = None,
    target: ArrayLike | None = None,
    lam: Number = 0.5,
    lam_scale: LamScale = "absolute",
    eps: Number = 1e-10,
    nonnegative: bool = True,
    fill: Fill = "random",
    fraction: Number | None = None,
) -> Selection:
    """GRAD-MATCHPB: match the target with mean gradients of random mini-batches (paper, section 2).

    The examples are shuffled into batches of `batch_size`, as even as they come; whole batches are
    selected, and a batch's weight is shared by its members, so that sum_i w_i g_i over the examples
    returned is the match. The lightest batch is cut so that exactly `budget` examples come back.
    Arguments and errors as `select_subset`.
    """
    atoms, n, budget = as_problem(gradients, budget, fraction)
    atoms = as_factored(atoms)
    batch_size = as_count("batch_size", batch_size, least=1)
    lam, options = as_options(lam, lam_scale, eps, nonnegative, fill)
    if target is not None:
        target = as_target(atoms, target)
    selection = _select_batches(
        atoms, target, lam, as_key(key), min(budget, n), batch_size, options
    )
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
