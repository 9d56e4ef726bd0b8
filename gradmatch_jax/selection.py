"""What a selection is, exact budgets, groups of examples, and the policy for a shortfall."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gradmatch_jax.errors import UserError


class Selection(NamedTuple):
    """A weighted subset of the examples."""

    indices: Int[Array, "k"]  # of examples, in no promised order; padded with -1
    weights: Float[Array, "k"]  # padded with 0; as the solver gave them, not rescaled
    size: Int[Array, ""]  # how many entries are real
    num_matched: Int[Array, ""]  # how many of them the method chose; the rest is random fill
    matching_error: Float[Array, ""]  # ‖sum w g - target‖ / ‖target‖ of the problem solved


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Groups:
    """A partition of the examples into padded groups with a budget each: one problem a group.

    Made once, on the host, by `partition`; an array argument of jitted functions from then on.
    """

    members: Int[Array, "g m"]  # indices of examples, padded with -1
    budgets: Int[Array, "g"]
    max_budget: int = field(metadata={"static": True})
    budget: int = field(metadata={"static": True})  # of all groups together


def largest_remainder(counts: Int[np.ndarray, "g"], budget: int) -> Int[np.ndarray, "g"]:
    """Split `budget` in proportion to `counts`, exactly: sum is min(budget, sum(counts)).

    Each group gets floor(budget n_g / n) and the largest remainders get one more; a group never
    gets more than it has.

    >>> largest_remainder(np.array([5, 3, 2]), 4).tolist()
    [2, 1, 1]
    """
    counts = np.asarray(counts, np.int64)
    total = int(counts.sum())
    budget = min(budget, total)
    if total == 0:
        return counts
    quotas, remainders = np.divmod(counts * budget, total)
    first = np.argsort(-remainders, kind="stable")[: budget - int(quotas.sum())]
    quotas[first] += 1
    return quotas


def partition(labels: Int[np.ndarray, "n"], budget: int, num_classes: int | None = None) -> Groups:
    """One group a class, budgets in proportion to the classes and adding up to `budget` exactly.

    Group c is class c; an absent class is an empty group. Labels are host data.

    Raises:
        UserError: labels are traced, not integers, negative, or at least `num_classes`.
    """
    if isinstance(labels, Tracer):
        raise UserError(
            "labels are traced: make the groups outside jit with partition(labels, budget) and "
            "pass them as labels"
        )
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"labels must be integers (n,), not {labels.dtype} {labels.shape}")
    top = int(labels.max(initial=-1)) + 1
    num_classes = max(top, 1) if num_classes is None else num_classes
    outside = int(np.sum((labels < 0) | (labels >= num_classes)))
    if outside:
        raise UserError(f"{outside} labels lie outside 0..{num_classes - 1}; number the classes so")
    counts = np.bincount(labels, minlength=num_classes)
    budgets = largest_remainder(counts, budget)
    members = np.full((num_classes, max(int(counts.max()), 1)), -1, np.int32)
    for label, count in enumerate(counts):
        members[label, :count] = np.flatnonzero(labels == label)
    return Groups(
        jnp.asarray(members),
        jnp.asarray(budgets, jnp.int32),
        max_budget=int(budgets.max(initial=0)),
        budget=int(budgets.sum()),
    )


def single_group(n: int, budget: int) -> Groups:
    """All n examples in one group."""
    budget = min(budget, n)
    members = jnp.arange(n, dtype=jnp.int32)[None]
    return Groups(members, jnp.asarray([budget], jnp.int32), max_budget=budget, budget=budget)


def as_groups(labels: Int[np.ndarray, "n"] | Groups | None, n: int, budget: int) -> Groups:
    """The groups of a selection: those given, one a class, or one for all n examples.

    Raises:
        UserError: groups of another budget; labels of another shape, or not class numbers.
    """
    if labels is None:
        return single_group(n, budget)
    if isinstance(labels, Groups):
        if labels.budget != min(budget, n):
            raise UserError(
                f"labels are groups of a budget of {labels.budget}, not {min(budget, n)}; make "
                "them with partition(labels, budget)"
            )
        return labels
    if np.shape(labels) != (n,):
        raise UserError(f"labels have shape {np.shape(labels)}, expected ({n},)")
    return partition(labels, budget)


def check_gradients(gradients, budget: int) -> int:
    """Host checks of every selection's input, arrays of n rows; returns n.

    Raises:
        UserError: budget < 0; shapes that do not fit; nan or inf (when not traced).
    """
    leaves = jax.tree.leaves(gradients)
    shapes = [np.shape(x) for x in leaves]
    if any(len(s) != 2 for s in shapes) or len({s[0] for s in shapes}) != 1:
        raise UserError(f"gradients must be arrays of n rows, not of shapes {shapes}")
    if budget < 0:
        raise UserError(f"budget must be 0 or more, not {budget}")
    if not any(isinstance(x, Tracer) for x in leaves):
        bad = np.zeros(shapes[0][0], bool)
        for x in leaves:
            bad |= ~np.asarray(jnp.all(jnp.isfinite(x), axis=1))
        if bad.any():
            raise UserError(
                f"{int(bad.sum())} of {len(bad)} gradient rows hold nan or inf "
                f"(first: row {int(bad.argmax())}); did the training diverge? "
                "Lower the learning rate or drop those rows"
            )
    return shapes[0][0]


def map_groups(
    solve: Callable, groups: Groups, at_once: int, targets: Array | None = None
) -> tuple[Array, ...]:
    """`solve(members, budgets, targets)` on `at_once` groups at a time; results are stacked.

    The last round is padded with empty groups of budget 0.
    """
    g = groups.members.shape[0]
    rounds = -(-g // at_once)

    def stack(x, fill_value):
        pad = ((0, rounds * at_once - g), *((0, 0) for _ in x.shape[1:]))
        padded = jnp.pad(x, pad, constant_values=fill_value)
        return padded.reshape(rounds, at_once, *x.shape[1:])

    parts = (
        stack(groups.members, -1),
        stack(groups.budgets, 0),
        None if targets is None else stack(targets, 0),
    )
    return jax.lax.map(lambda part: solve(*part), parts)


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


def compact(
    indices: Int[Array, "*slots"], weights: Float[Array, "*slots"], budget: int
) -> tuple[Int[Array, "budget"], Float[Array, "budget"]]:
    """Flatten to `budget` entries, the real ones (index >= 0) first, their order kept."""
    indices, weights = indices.reshape(-1), weights.reshape(-1)
    real = indices >= 0
    place = jnp.where(real, jnp.cumsum(real) - 1, budget)  # out of range: dropped
    return (
        jnp.full(budget, -1, indices.dtype).at[place].set(indices, mode="drop"),
        jnp.zeros(budget, weights.dtype).at[place].set(weights, mode="drop"),
    )


def pad(selection: Selection, budget: int) -> Selection:
    """`selection` with room for `budget` entries, unused ones behind."""
    room = (0, budget - selection.indices.shape[0])
    return selection._replace(
        indices=jnp.pad(selection.indices, room, constant_values=-1),
        weights=jnp.pad(selection.weights, room),
    )


def empty_selection(budget: int) -> Selection:
    """Nothing selected, which leaves the whole target unmatched."""
    zero = jnp.zeros((), jnp.int32)
    indices = jnp.full((budget,), -1, jnp.int32)
    return Selection(indices, jnp.zeros((budget,)), zero, zero, jnp.asarray(1.0))


def relative_error(squares: Float[Array, "*g"], target_squares: Float[Array, "*g"]) -> Array:
    """sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²): the matching error over all groups."""
    scale = jnp.sum(target_squares)
    return jnp.sqrt(jnp.sum(squares) / jnp.where(scale > 0, scale, 1.0))


def unweighted(indices: Int[Array, "k"]) -> Selection:
    """A selection with weight 1 each and nothing matched to a gradient (matching_error is nan)."""
    real = indices >= 0
    size = jnp.sum(real)
    nan = jnp.full((), jnp.nan)
    return Selection(indices, real.astype(jnp.float32), size, size, nan)


def draw(key: PRNGKeyArray, n: int, budget: int) -> Int[Array, "budget"]:
    """`budget` of n examples, uniformly without replacement."""
    return jax.random.permutation(key, n)[:budget].astype(jnp.int32)
