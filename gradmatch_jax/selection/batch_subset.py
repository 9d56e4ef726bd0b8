"""GRAD-MATCHPB: whole mini-batches as atoms (paper, section 2, "GRAD-MATCH for mini-batch SGD")."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gradmatch_jax.inputs.arrays import ArrayLike, Count, Key, Number, as_key, widened
from gradmatch_jax.inputs.atoms import as_factored, as_target
from gradmatch_jax.inputs.values import as_count
from gradmatch_jax.selection.batches import (
    Drawn,
    batch_gram,
    draw_batches,
    error_of,
    sizes_of,
    sum_of,
    to_members,
)
from gradmatch_jax.selection.padding import with_rows
from gradmatch_jax.selection.ranking import calibrated, fill_slots, uneven
from gradmatch_jax.selection.result import (
    Selection,
    check_finite,
    count_stops,
    empty_selection,
    pad,
    trim,
)
from gradmatch_jax.selection.spread import mesh_of, to_all, whole
from gradmatch_jax.selection.subset import DEFAULTS, as_problem
from gradmatch_jax.solvers.atoms import factors
from gradmatch_jax.solvers.options import MatchingOptions, with_changes
from gradmatch_jax.solvers.problem import Form, Problem
from gradmatch_jax.solvers.pursuit import match


def select_batches(
    gradients: ArrayLike,
    budget: Count | None = None,
    batch_size: Count = 128,
    *,
    key: Key | None = None,
    target: ArrayLike | None = None,
    fraction: Number | None = None,
    options: MatchingOptions = DEFAULTS,
    **changes: Any,
) -> Selection:
    """GRAD-MATCHPB: match the target with mean gradients of random mini-batches (paper, section 2).

    The examples are shuffled into batches of `batch_size`, as even as they come; whole batches are
    selected until their members meet the budget, and a batch's weight is shared by its members, so
    that sum_i w_i g_i over the examples returned is the match. One batch is cut so that exactly
    `budget` examples come back, the lightest of those that something is left of.

    Args:
        gradients: `LastLayerGradients`, or a dense (n, d) array with one atom a row.
        budget: how many examples; the result has this many entries, -1 behind where n is smaller.
        batch_size: examples a batch, about.
        key: for the shuffle and the fill (None: a fixed key).
        target: (C, 1+E) or (d,); the sum of all atoms by default.
        fraction: the budget as a share of n, in its place.
        options: see `MatchingOptions`.
        **changes: single options by name, as for `select_subset`.

    Returns:
        As `select_subset`; `matching_error` is that of the whole gradient, the cut included.

    Raises:
        UserError: as `select_subset`; batch_size < 1.

    Example:
        >>> chosen = select_batches([[1.0], [1.0], [3.0], [3.0]], 2, 2, lam=0.0)
        >>> float(chosen.matching_error) < 1e-3, int(chosen.size)
        (True, 2)
    """
    atoms, n, budget = as_problem(gradients, budget, fraction)
    atoms = as_factored(atoms)
    batch_size = as_count("batch_size", batch_size, least=1)
    options = with_changes(options, changes)
    if target is not None:
        target = as_target(atoms, target)
    most = min(budget, n)
    if most == 0:
        return empty_selection(budget)
    mesh = mesh_of(atoms)
    shuffle_key, fill_key = jax.random.split(as_key(key))
    drawn, slots = draw_batches(atoms, shuffle_key, most, batch_size, to_all(target, mesh))
    scores = with_rows(jax.random.uniform(fill_key, (n,)), len(drawn.real) - n)
    selection = _select_batches(drawn, scores, options, slots, mesh)
    return check_finite(pad(trim(selection, most), budget))


@partial(jax.jit, static_argnames=("slots", "mesh"))
def _select_batches(
    drawn: Drawn,
    scores: Float[Array, "n"],
    options: MatchingOptions,
    slots: int,
    mesh: Mesh | None,
) -> Selection:
    gradients, target, batches, members, wanted = drawn
    gradients, sizes = widened(gradients), sizes_of(batches)
    count = jnp.sum(sizes > 0)
    if target is None:
        target = sum_of(gradients, mesh)
    gram, correlations = batch_gram(gradients, batches, target, mesh=mesh)
    lam = jnp.asarray(options.lam, gram.dtype)
    if options.lam_scale == "relative":
        lam = lam * jnp.sum(jnp.diagonal(gram)) / count.astype(gram.dtype)
    problem = Problem(
        jnp.sum(target**2)[None], (sizes > 0)[None], wanted[None], lam[None],
        gram=gram[None], correlations=correlations[None], counts=sizes[None],
    )  # fmt: skip
    # As many coordinates as all classes have, and few atoms: always the Gram form.
    support, batch_weights, reasons = match(problem, slots, options, Form.GRAM)
    indices, weights = to_members(batches, support[0], batch_weights[0], wanted)
    matched = jnp.sum(indices >= 0, dtype=jnp.int32)
    if options.fill != "none":
        filled = fill_slots(indices[None], weights[None], members[None], wanted[None], scores[None])
        indices, weights = filled[0][0], filled[1][0]
    error = error_of(gradients, indices, weights, target, mesh)
    if options.fill in ("calibrated", "steady"):
        chosen, real = factors(gradients).take(indices[None]), (indices >= 0)[None]
        system = chosen, real, members[None], target[None], lam[None]

        def anew() -> tuple[Array, Array]:
            others = calibrated(*system, options.nonnegative)[0]
            return others, error_of(gradients, indices, others, target, mesh)

        always = options.fill == "calibrated"
        own = weights, error
        weights, error = anew() if always else lax.cond(uneven(weights), anew, lambda: own)
    size = jnp.sum(indices >= 0, dtype=jnp.int32)
    stops = count_stops(reasons, jnp.ones(1, bool))
    form = jnp.asarray(Form.GRAM, jnp.int32)
    return whole(Selection(indices, weights, size, matched, error, stops, form), mesh)
