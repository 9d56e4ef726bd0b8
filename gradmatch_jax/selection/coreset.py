"""`select_coreset`: gradients -> Gram matrix -> facility location -> weighted subset (CRAIG).

    minimise over S   sum_i min_{j in S} ‖g_i - g_j‖,   |S| = k,   w_j = #{i : j is nearest to i}

The sum bounds ‖sum_i g_i - sum_{j in S} w_j g_j‖, the error of the gradient, from above
(Mirzasoleiman, Bilmes & Leskovec 2020, "Coresets for Data-efficient Training of Machine Learning
Models", section 3). Unlike GRAD-MATCH it has no target: one like it stands for each example.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int

from gradmatch_jax import gradients as gr
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Key, Number, as_key
from gradmatch_jax.inputs.atoms import (
    Atoms,
    as_atoms,
    as_factored,
    classes_of,
)
from gradmatch_jax.inputs.values import as_budget, as_count
from gradmatch_jax.selection.batches import (
    Drawn,
    batch_gram,
    draw_batches,
    error_of,
    sizes_of,
    sum_of,
    to_members,
)
from gradmatch_jax.selection.distances import distances_of
from gradmatch_jax.selection.groups import Groups, as_groups, map_groups, room_for, slots_for
from gradmatch_jax.selection.padding import are_few, filled_up, with_classes
from gradmatch_jax.selection.result import (
    Selection,
    compact,
    empty_selection,
    pad,
    relative_error,
    trim,
)
from gradmatch_jax.selection.rounds import in_rounds, map_rounds
from gradmatch_jax.selection.spread import mesh_of, split_rows, whole
from gradmatch_jax.solvers.atoms import shape_of
from gradmatch_jax.solvers.facility_location import (
    cluster_sizes,
    maximise,
    similarities_of,
    squared_distances,
)

SMALL = 1024  # members: the matrices of a few empty classes of so many take no time


def select_coreset(
    gradients: ArrayLike,
    budget: Count | None = None,
    *,
    labels: ArrayLike | Groups | None = None,
    fraction: Number | None = None,
) -> Selection:
    """CRAIG: choose min(budget, n) examples that lie near all the others, weighted by cluster size.

    An example's weight is the number of examples it is nearest to, ties to the first chosen, so the
    weights of a class add up to its size. Past the last distinct gradient only copies of chosen
    ones are left; they are chosen with weight 0. (A distance is rounded by about 3e-4 of the
    gradients' own distance from their mean, in float32: copies may count as different, and what is
    nearer than that is told apart by chance.) Examples of classes without budget are nobody's.
    `num_matched` is `size`. `matching_error` compares with each class's sum of gradients:
    sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²), as in `select_subset`.

    Args:
        gradients: `LastLayerGradients`, or a dense (n, d) array with one atom a row.
        budget: how many examples; the result has this many entries, -1 behind where n is smaller.
        labels: None is one problem over all n examples, with an n x n matrix. Labels (n,) make one
            problem a class, as CRAIG has it, their budgets in proportion to the classes and adding
            up to `budget`. Under `jit` pass the `Groups` that `partition(labels, budget)` makes.
        fraction: the budget as a share of n, in its place.

    Returns:
        Indices, and cluster sizes as weights.

    Raises:
        UserError: both or neither of budget and fraction, or such as are no budget; shapes that do
            not fit; non-finite gradients, or such that their products overflow (when not traced);
            labels that are not class numbers.

    Example:
        >>> select_coreset([[0.0], [0.1], [5.0]], 2).weights.tolist()
        [2.0, 1.0]
    """
    atoms = as_atoms(gradients)
    n = jax.tree.leaves(atoms)[0].shape[0]
    budget = as_budget(budget, fraction, n)
    groups = as_groups(labels, n, budget, classes_of(atoms))
    if groups.max_budget == 0:
        return empty_selection(budget)
    mesh, (g, m), most = mesh_of(atoms), groups.members.shape, groups.max_budget
    if are_few(atoms, groups) and m <= SMALL:
        atoms, groups = filled_up(with_classes(atoms)[0], groups, mesh)
        g, m = groups.members.shape
    slots = slots_for(most, m)
    groups, room = groups.padded(g, m), room_for(budget, g * slots, n)
    if not in_rounds(mesh, atoms, groups):
        return trim(_select_groups(atoms, groups, slots, room, mesh), budget)
    at_once = _groups_at_once(groups)
    size = at_once * (m * sum(shape_of(atoms)) + 2 * m * m)
    solved = map_rounds(_solve_round, groups, at_once, size, atoms, slots=slots)
    return trim(_joined(*solved, room=room), budget)


def _groups_at_once(groups: Groups) -> int:
    """How many problems share one loop: bounded by the caches of a CPU, by an accelerator's memory.

    As in `matching`, but it is the n x n matrix that the loop reads.
    """
    g, m = groups.members.shape
    most = 2**23 if jax.default_backend() == "cpu" else 2**32
    return max(1, min(g, most // (4 * m * m)))


@partial(jax.jit, static_argnames=("slots", "room", "mesh"))
def _select_groups(
    gradients: Atoms, groups: Groups, slots: int, room: int, mesh: Mesh | None
) -> Selection:
    gradients = split_rows(gradients, mesh)
    solve = partial(_solve, slots=slots)
    solved = map_groups(solve, groups, _groups_at_once(groups), gradients, mesh=mesh)
    return _joined(*whole(solved, mesh), room=room)


@partial(jax.jit, static_argnames=("room",))
def _joined(
    indices: Array, weights: Array, squares: Array, target_squares: Array, *, room: int
) -> Selection:
    """All groups' answers in one."""
    indices, weights = compact(indices, weights, room)
    size = jnp.sum(indices >= 0)
    return Selection(indices, weights, size, size, relative_error(squares, target_squares))


def _solve(
    members: Int[Array, "g m"], each: tuple[Array, None], atoms: Atoms, *, slots: int
) -> tuple[Array, Array, Array, Array]:
    """A batch of groups: indices and weights (g, k), ‖residual‖², ‖target‖²."""
    budgets, _ = each
    valid = members >= 0
    squared = distances_of(atoms, valid)
    counts = valid.astype(squared.dtype)
    positions, owner, _ = maximise(similarities_of(squared, valid), valid, budgets, slots)
    weights = jnp.where(positions >= 0, cluster_sizes(owner, counts, slots), 0.0)
    target = gr.weighted_sum(atoms, counts)
    chosen = jax.vmap(gr.take)(atoms, positions)
    residual = gr.weighted_sum(chosen, weights) - target
    rows = jnp.arange(members.shape[0])[:, None]
    indices = jnp.where(positions >= 0, members[rows, positions], -1)
    return indices, weights, jnp.sum(residual**2), jnp.sum(target**2)


_solve_round = jax.jit(_solve, static_argnames=("slots",))


def select_coreset_batches(
    gradients: ArrayLike,
    budget: Count | None = None,
    batch_size: Count = 128,
    *,
    key: Key | None = None,
    fraction: Number | None = None,
) -> Selection:
    """CRAIG on mini-batches: whole batches that lie near all the others, by their mean gradients.

    The examples are shuffled under `key` into batches of `batch_size`, as even as they come. A
    batch stands for the batches it is nearest to: its weight N_b is the number of examples in them,
    shared by its own members, so that

        sum_i w_i g_i = sum_b N_b mean_b,     sum_i w_i = n

    which is CRAIG's scale of per-example weights. Batches are chosen until their members are
    min(budget, n) or more; one is cut so that exactly so many come back, the lightest of those that
    something is left of, and what is left has all of its weight. `matching_error` is that of the
    whole gradient, the cut included, as `select_batches` has it.

    Args:
        gradients: `LastLayerGradients`, or a dense (n, d) array with one atom a row.
        budget: how many examples; the result has this many entries, -1 behind where n is smaller.
        batch_size: examples a batch, about.
        key: for the shuffle (None: a fixed key).
        fraction: the budget as a share of n, in its place.

    Returns:
        The members of the chosen batches, with their shares of the batches' weights.

    Raises:
        UserError: as `select_coreset`; batch_size < 1.

    Example:
        >>> select_coreset_batches([[0.0], [0.1], [5.0], [5.1]], 2, 1).weights.tolist()
        [2.0, 2.0]
    """
    atoms = as_factored(as_atoms(gradients))
    n = atoms.residuals.shape[0]
    budget, batch_size = as_budget(budget, fraction, n), as_count("batch_size", batch_size, least=1)
    most = min(budget, n)
    if most == 0:
        return empty_selection(budget)
    drawn, slots = draw_batches(atoms, as_key(key), most, batch_size)
    made = _select_batches(drawn, slots, mesh_of(atoms))
    return pad(trim(made, most), budget)


@partial(jax.jit, static_argnames=("slots", "mesh"))
def _select_batches(drawn: Drawn, slots: int, mesh: Mesh | None) -> Selection:
    gradients, _, batches, _, wanted = drawn
    target = sum_of(gradients, mesh)
    gram, _ = batch_gram(gradients, batches, target, centred=True, mesh=mesh)
    sizes = sizes_of(batches)[None]
    valid = sizes > 0
    similarities = similarities_of(squared_distances(gram[None]), valid)
    positions, owner, _ = maximise(similarities, valid, wanted[None], slots, counts=sizes)
    represented = cluster_sizes(owner, sizes.astype(gram.dtype), slots)
    indices, weights = to_members(batches, positions[0], represented[0], wanted)
    error = error_of(gradients, indices, weights, target, mesh)
    size: Array = jnp.sum(indices >= 0)
    return whole(Selection(indices, weights, size, size, error), mesh)
