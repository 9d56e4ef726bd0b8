"""`select_subset`: gradients -> matching problem -> OMP -> weighted subset (paper, Algorithm 2)."""

from typing import Any, Literal, get_args

import jax

from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import Atoms, LastLayerGradients
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Key, Number, as_key
from gradmatch_jax.inputs.atoms import as_atoms, as_target, classes_of
from gradmatch_jax.inputs.values import as_budget, check_literal
from gradmatch_jax.selection.groups import Groups, as_groups
from gradmatch_jax.selection.matching import match_groups
from gradmatch_jax.selection.result import Selection, check_finite
from gradmatch_jax.solvers.options import MatchingOptions, with_changes

Approximation = Literal["exact", "per_gradient"]
APPROXIMATIONS = get_args(Approximation)
DEFAULTS = MatchingOptions()


def select_subset(
    gradients: ArrayLike,
    budget: Count | None = None,
    *,
    labels: ArrayLike | Groups | None = None,
    target: ArrayLike | None = None,
    approximation: Approximation | str = "exact",
    key: Key | None = None,
    fraction: Number | None = None,
    options: MatchingOptions = DEFAULTS,
    **changes: Any,
) -> Selection:
    """Choose at most `budget` examples and weights whose gradients add up to the target.

        minimise over S, w   ‖sum_{i in S} w_i g_i - target‖² + lam ‖w‖²,   |S| <= budget

    by orthogonal matching pursuit (paper, equation 1 and Algorithm 2).

    Args:
        gradients: `LastLayerGradients`, or a dense (n, d) array with one atom a row.
        budget: how many examples; the result has this many entries, -1 behind where n is smaller.
        labels: None is one problem over all examples. Labels (n,) make one problem a class (the
            paper's per-class approximation), their budgets in proportion to the classes and adding
            up to `budget`. Under `jit` pass the `Groups` that `partition(labels, budget)` makes.
            (Outside `jit` a CPU's cores solve classes of many examples beside each other.)
        target: what to match; the sum of the atoms (of each class) by default, or that of
            validation gradients (the paper's isValid), scaled to the training set's size: (C, 1+E)
            as `weighted_sum` gives it or (d,) for dense atoms; with labels, one a class, as
            `class_sums` gives them.
        approximation: "exact" matches the whole last-layer gradient; "per_gradient" the class's own
            column of it (the paper's default; needs labels).
        key: for the fill; the same key gives the same fill (None: a fixed key).
        fraction: the budget as a share of n, in its place.
        options: lam, lam_scale, eps, nonnegative, fill, form: see `MatchingOptions`.
        **changes: single options by name, as in `select_subset(gradients, 100, lam=0.1)`. lam is in
            the units of a squared gradient norm as in the paper, or with `lam_scale="relative"` in
            those of the problem's mean squared atom norm. OMP stops early where nothing more is to
            be matched: `fill` "random" tops up each problem to its budget (`ranking.fill_slots`),
            "calibrated" does so and weighs all of them once more (`ranking.calibrated`), "steady"
            takes those weights where the match's own are uneven (`ranking.uneven`), "none" leaves
            the entries out (index -1, weight 0).

    Returns:
        Indices and weights; `num_matched` of them were matched, `stops` says why no more were,
        `form` which form of the solver it was. `matching_error` is that of the problem solved: over
        all classes together, sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²), fill included;
        the function `matching_error` measures any weighted subset on the whole gradient.

    Raises:
        UserError: both or neither of budget and fraction, or such as are no budget; lam < 0; shapes
            that do not fit; non-finite gradients, or such that their products overflow (when not
            traced); labels that are not class numbers.

    Example:
        >>> chosen = select_subset([[2.0, 0.0], [0.0, 2.0], [0.1, 0.1]], 2, lam=0.0)
        >>> sorted(chosen.indices.tolist()), int(chosen.num_matched)
        ([0, 1], 2)
    """
    atoms, n, budget = as_problem(gradients, budget, fraction)
    options = with_changes(options, changes)
    own_column = check_literal("approximation", approximation, APPROXIMATIONS) == "per_gradient"
    if own_column and (labels is None or not isinstance(atoms, LastLayerGradients)):
        raise UserError('approximation="per_gradient" needs LastLayerGradients and labels')
    groups = as_groups(labels, n, budget, classes_of(atoms))
    if target is not None:
        count = None if labels is None else groups.members.shape[0]
        target = as_target(atoms, target, count, width=1 if own_column else None)
        target = target[None] if labels is None else target
    selection = match_groups(atoms, groups, target, as_key(key), budget, own_column, options)
    return check_finite(selection)


def as_problem(gradients, budget, fraction) -> tuple[Atoms, int, int]:
    """Checked atoms, how many, and how many of them to choose."""
    atoms = as_atoms(gradients, stored=True)
    n = jax.tree.leaves(atoms)[0].shape[0]
    return atoms, n, as_budget(budget, fraction, n)
