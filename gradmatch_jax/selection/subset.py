"""`select_subset`: gradients -> Gram problem -> OMP -> weighted subset (paper, Algorithm 2)."""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import Atoms, LastLayerGradients
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Key, Number, as_key
from gradmatch_jax.inputs.atoms import as_atoms, as_target, classes_of
from gradmatch_jax.inputs.values import as_budget, check_fields, check_literal
from gradmatch_jax.selection.groups import Groups, as_groups, map_groups
from gradmatch_jax.selection.ranking import fill_slots
from gradmatch_jax.selection.result import Selection, compact, empty_selection, relative_error
from gradmatch_jax.solvers.options import Fill, LamScale, MatchingOptions
from gradmatch_jax.solvers.pursuit import match

Approximation = Literal["exact", "per_gradient"]
APPROXIMATIONS = get_args(Approximation)


class Options(NamedTuple):
    """Static options of a matching problem."""

    eps: float
    nonnegative: bool
    relative: bool
    fill: bool


def select_subset(
    gradients: ArrayLike,
    budget: Count | None = None,
    *,
    labels: ArrayLike | Groups | None = None,
    target: ArrayLike | None = None,
    approximation: Approximation = "exact",
    lam: Number = 0.5,
    lam_scale: LamScale = "absolute",
    eps: Number = 1e-10,
    nonnegative: bool = True,
    fill: Fill = "random",
    key: Key | None = None,
    fraction: Number | None = None,
) -> Selection:
    """Choose at most `budget` examples and weights whose gradients add up to the target.

        minimise over S, w   ‖sum_{i in S} w_i g_i - target‖² + lam ‖w‖²,   |S| <= budget

    by orthogonal matching pursuit (paper, equation 1 and Algorithm 2).

    gradients: `LastLayerGradients`, or a dense (n, d) array with one atom a row.
    labels: None is one problem over all examples. Labels (n,) make one problem a class (the
      paper's per-class approximation), all solved in one batched loop, their budgets in proportion
      to the classes and adding up to `budget`. Under `jit` pass the `Groups` that
      `partition(labels, budget)` makes once.
    target: what to match; the sum of the atoms (of each class) by default, or that of validation
      gradients (the paper's isValid), scaled to the training set's size: (C, 1+E) as
      `gradients.weighted_sum` gives it or (d,) for dense atoms; with labels, one a class, as
      `gradients.class_sums` gives them.
    approximation: "exact" matches the whole last-layer gradient; "per_gradient" the class's own
      column of it (the paper's default; needs labels).
    lam: ridge penalty, in the units of a squared gradient norm as in the paper, or with
      `lam_scale="relative"` in units of the problem's mean squared atom norm.
    eps: stop once E_lam < eps.
    nonnegative: weights >= 0, as the reference implementation has them; False is the listing.
    fill: OMP stops early where nothing more is to be matched. "random" tops up each problem to its
      budget (see `selection.fill_slots` for the weights), "none" leaves the entries out
      (index -1, weight 0). `num_matched` tells how many were matched either way.
    key: for the fill; the same key gives the same fill (None: a fixed key).
    fraction: the budget as a share of n, in its place.

    `matching_error` is that of the problem solved: over all classes together,
    sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²), of what is returned, fill included.
    `gradients.matching_error` measures any weighted subset on the whole gradient.

    Raises:
        UserError: both or neither of budget and fraction, or such as are no budget; lam < 0; shapes
          that do not fit; non-finite gradients, or such that their products overflow (when not
          traced); labels that are not class numbers.
    """
    atoms, n, budget = as_problem(gradients, budget, fraction)
    lam, options = as_options(lam, lam_scale, eps, nonnegative, fill)
    own_column = check_literal("approximation", approximation, APPROXIMATIONS) == "per_gradient"
    if own_column and (labels is None or not isinstance(atoms, LastLayerGradients)):
        raise UserError('approximation="per_gradient" needs LastLayerGradients and labels')
    groups = as_groups(labels, n, budget, classes_of(atoms))
    if target is not None:
        count = None if labels is None else groups.members.shape[0]
        target = as_target(atoms, target, count, width=1 if own_column else None)
        target = target[None] if labels is None else target
    return _select_groups(atoms, groups, target, lam, as_key(key), budget, own_column, options)


def as_problem(gradients, budget, fraction) -> tuple[Atoms, int, int]:
    """Checked atoms, how many, and how many of them to choose."""
    atoms = as_atoms(gradients)
    n = jax.tree.leaves(atoms)[0].shape[0]
    return atoms, n, as_budget(budget, fraction, n)


def as_options(lam, lam_scale, eps, nonnegative, fill) -> tuple[Number, Options]:
    """The checked knobs of a matching problem: lam, which may be traced, and the static ones."""
    o = check_fields(MatchingOptions(lam, lam_scale, eps, nonnegative, fill))
    return o.lam, Options(o.eps, o.nonnegative, o.lam_scale == "relative", o.fill == "random")


def _groups_at_once(groups: Groups) -> int:
    """How many problems share one loop: bounded by the caches of a CPU, by an accelerator's memory.

    A GPU's greedy loop is bound by launch latency, so there all problems advance together; on a
    CPU it is bound by memory traffic once the buffers leave the last-level cache.
    """
    g, m = groups.members.shape
    if jax.default_backend() == "cpu":
        return max(1, min(g, 2**23 // (4 * m * max(groups.max_budget, 1))))
    return max(1, min(g, 2**32 // (4 * m * m)))


@partial(jax.jit, static_argnames=("budget", "own_column", "options"))
def _select_groups(
    gradients: Atoms,
    groups: Groups,
    target: Array | None,
    lam: Number,
    key: PRNGKeyArray,
    budget: int,
    own_column: bool,
    options: Options,
) -> Selection:
    """Solve every group's problem, a few groups at a time, and join the answers."""
    n = jax.tree.leaves(gradients)[0].shape[0]
    g = groups.members.shape[0]
    if groups.max_budget == 0 or n == 0:
        return empty_selection(budget)
    if own_column:
        label = (
            jnp.zeros(n, jnp.int32)
            .at[groups.members]
            .max(jnp.where(groups.members >= 0, jnp.arange(g)[:, None], 0))
        )
        assert isinstance(gradients, LastLayerGradients)
        gradients = gr.per_gradient(gradients, label)
    scores = jax.random.uniform(key, (n,))

    def solve(members, budgets, targets):
        return _solve(gradients, members, budgets, groups.max_budget, targets, lam, scores, options)

    indices, weights, matched, squares, target_squares = map_groups(
        solve, groups, _groups_at_once(groups), target
    )
    indices, weights = compact(indices, weights, budget)
    error = relative_error(squares, target_squares)
    return Selection(indices, weights, jnp.sum(indices >= 0), jnp.sum(matched), error)


def _solve(gradients, members, budgets, max_budget, target, lam, scores, options):
    """A batch of groups: indices and weights (g, k), number matched, ‖residual‖², ‖target‖²."""
    valid = members >= 0
    atoms = gr.take(gradients, members)
    if target is None:
        target = gr.weighted_sum(atoms, valid.astype(scores.dtype))
    axes = tuple(range(1, target.ndim))
    target_sq_norm = jnp.sum(target**2, axis=axes)
    gram = gr.gram(atoms)
    correlations = jnp.where(valid, gr.correlations(atoms, target), 0.0)
    lam = jnp.broadcast_to(jnp.asarray(lam, gram.dtype), budgets.shape)
    if options.relative:
        squares = jnp.where(valid, jnp.diagonal(gram, axis1=1, axis2=2), 0.0)
        lam = lam * jnp.sum(squares, axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)
    positions, weights = match(
        gram, correlations, target_sq_norm, valid, budgets, max_budget, lam,
        eps=options.eps, nonnegative=options.nonnegative,
    )  # fmt: skip
    matched = jnp.sum(positions >= 0)
    if options.fill:
        member_scores = jnp.where(valid, scores[members], -1.0)
        positions, weights = fill_slots(positions, weights, valid, budgets, member_scores)
    chosen = jax.vmap(gr.take)(atoms, positions)
    residual = gr.weighted_sum(chosen, weights) - target
    rows = jnp.arange(members.shape[0])[:, None]
    indices = jnp.where(positions >= 0, members[rows, positions], -1)
    return indices, weights, matched, jnp.sum(residual**2), jnp.sum(target_sq_norm)
