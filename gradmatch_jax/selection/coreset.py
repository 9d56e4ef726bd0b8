"""`select_coreset`: gradients -> Gram matrix -> facility location -> weighted subset (CRAIG).

    minimise over S   sum_i min_{j in S} ‖g_i - g_j‖,   |S| = k,   w_j = #{i : j is nearest to i}

The sum bounds ‖sum_i g_i - sum_{j in S} w_j g_j‖, the error of the gradient, from above
(Mirzasoleiman, Bilmes & Leskovec 2020, "Coresets for Data-efficient Training of Machine Learning
Models", section 3). Unlike GRAD-MATCH it has no target to match: every example
is represented by one like it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import Atoms, LastLayerGradients
from gradmatch_jax.inputs import check_gradients
from gradmatch_jax.selection.batches import batches_for, even_batches, to_members
from gradmatch_jax.selection.groups import Groups, as_groups, map_groups
from gradmatch_jax.selection.result import Selection, compact, empty_selection, pad, relative_error
from gradmatch_jax.solvers.facility_location import cluster_sizes, maximise, similarities_of


def select_coreset(
    gradients: Atoms, budget: int, *, labels: Int[np.ndarray, "n"] | Groups | None = None
) -> Selection:
    """CRAIG: choose min(budget, n) examples that lie near all the others, weighted by cluster size.

    gradients: `LastLayerGradients`, or a dense (n, d) array with one atom a row.
    labels: None is one problem over all n examples, with an n x n matrix. Labels (n,) make one
      problem a class, as CRAIG has it, their budgets in proportion to the classes and adding up to
      `budget`. Under `jit` pass the `Groups` that `partition(labels, budget)` makes once.

    An example's weight is the number of examples it is nearest to, ties to the first chosen, so the
    weights of a class add up to its size. Past the last distinct gradient only copies of chosen
    ones are left; they are chosen with weight 0. Examples of classes without budget are nobody's.
    `num_matched` is `size`. `matching_error` compares with each class's sum of gradients:
    sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²), as in `select_subset`.

    Raises:
        UserError: budget < 0; shapes that do not fit; non-finite gradients (when not traced);
          labels that are not class numbers.
    """
    n = check_gradients(gradients, budget)
    return _select_groups(gradients, as_groups(labels, n, budget), budget)


def _groups_at_once(groups: Groups) -> int:
    """How many problems share one loop: bounded by the caches of a CPU, by an accelerator's memory.

    As in `matching`, but it is the n x n matrix that the loop reads.
    """
    g, m = groups.members.shape
    most = 2**23 if jax.default_backend() == "cpu" else 2**32
    return max(1, min(g, most // (4 * m * m)))


@partial(jax.jit, static_argnames=("budget",))
def _select_groups(gradients: Atoms, groups: Groups, budget: int) -> Selection:
    if groups.max_budget == 0:
        return empty_selection(budget)
    solve = partial(_solve, gradients, groups.max_budget)
    indices, weights, squares, target_squares = map_groups(solve, groups, _groups_at_once(groups))
    indices, weights = compact(indices, weights, budget)
    size = jnp.sum(indices >= 0)
    return Selection(indices, weights, size, size, relative_error(squares, target_squares))


def _solve(gradients, max_budget, members, budgets, targets):
    """A batch of groups: indices and weights (g, k), ‖residual‖², ‖target‖²."""
    del targets
    valid = members >= 0
    atoms = gr.take(gradients, members)
    gram = gr.gram(atoms)
    counts = valid.astype(gram.dtype)
    positions, owner, _ = maximise(similarities_of(gram, valid), valid, budgets, max_budget)
    weights = jnp.where(positions >= 0, cluster_sizes(owner, counts, max_budget), 0.0)
    target = gr.weighted_sum(atoms, counts)
    chosen = jax.vmap(gr.take)(atoms, positions)
    residual = gr.weighted_sum(chosen, weights) - target
    rows = jnp.arange(members.shape[0])[:, None]
    indices = jnp.where(positions >= 0, members[rows, positions], -1)
    return indices, weights, jnp.sum(residual**2), jnp.sum(target**2)


def select_coreset_batches(
    gradients: LastLayerGradients, budget: int, batch_size: int, *, key: PRNGKeyArray
) -> Selection:
    """CRAIG on mini-batches: whole batches that lie near all the others, by their mean gradients.

    The examples are shuffled under `key` into batches of `batch_size`, as even as they come. A
    batch stands for the batches it is nearest to: its weight N_b is the number of examples in them,
    shared by its own members, so that

        sum_i w_i g_i = sum_b N_b mean_b,     sum_i w_i = n

    which is CRAIG's scale of per-example weights. The lightest batch is cut so that exactly
    min(budget, n) examples come back (where the cut leaves nothing of it, its weight is lost).
    `matching_error` is that of the whole gradient, the cut included, as `select_batches` has it.

    Raises:
        UserError: as `select_coreset`; batch_size < 1.
    """
    n = check_gradients(gradients, budget)
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}")
    return pad(_select_batches(gradients, key, min(budget, n), batch_size), budget)


@partial(jax.jit, static_argnames=("budget", "batch_size"))
def _select_batches(gradients, key, budget: int, batch_size: int) -> Selection:
    n = gradients.features.shape[0]
    if budget == 0:
        return empty_selection(0)
    batches = even_batches(key, n, batch_size)
    count = batches.shape[0]
    picks = batches_for(budget, n, count)
    target = gr.weighted_sum(gradients, jnp.ones(n, gradients.features.dtype))
    gram, _ = gr.batch_gram(gradients, batches, target)
    valid = jnp.ones((1, count), bool)
    similarities = similarities_of(gram[None], valid)
    positions, owner, _ = maximise(similarities, valid, jnp.asarray([picks]), picks)
    examples = jnp.sum(batches >= 0, axis=1).astype(gram.dtype)
    represented = cluster_sizes(owner, examples[None], picks)
    indices, weights = to_members(batches, positions[0], represented[0], budget)
    error = gr.matching_error(gradients, indices, weights, target)
    size: Array = jnp.sum(indices >= 0)
    return Selection(indices, weights, size, size, error)
