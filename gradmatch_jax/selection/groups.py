"""Groups of examples with exact budgets: one matching problem a group."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Number
from gradmatch_jax.inputs.labels import as_labels, as_num_classes
from gradmatch_jax.inputs.values import as_budget
from gradmatch_jax.selection.spread import map_spread, padded

# Fewer cost as much as these, and each would be a program to compile.
LEAST_SLOTS = 16
MANY_SLOTS = 256
LEAST_MEMBERS = 32
TOGETHER = 4  # groups: so many, or a bucket of them


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Groups:
    """A partition of the examples into padded groups with a budget each: one problem a group.

    Made once, on the host, by `partition`; an array argument of jitted functions from then on.
    """

    members: Int[Array, "g m"]  # indices of examples, padded with -1
    budgets: Int[Array, "g"]
    group_of: Int[Array, "n"]  # each example's group
    max_budget: int = field(metadata={"static": True})
    budget: int = field(metadata={"static": True})  # of all groups together

    def padded(self, g: int, m: int) -> "Groups":
        """In `g` rows of `m` members, some of no members; budgets known by the arrays alone."""
        more = g - self.members.shape[0]
        room = ((0, more), (0, m - self.members.shape[1]))
        traced = isinstance(self.members, Tracer)
        pad = jnp.pad if traced else np.pad  # a pad on the device compiles for every shape
        members = jnp.asarray(pad(self.members, room, constant_values=-1))
        budgets = jnp.asarray(pad(self.budgets, (0, more))) if more else self.budgets
        return Groups(members, budgets, self.group_of, 0, 0)


def bucket(size: int) -> int:
    """The least of 0..8, 9, .. 16, 18, .. 32, 36, .. that holds `size`: at most an eighth more.

    >>> [bucket(size) for size in (0, 7, 9, 17, 33, 1000)]
    [0, 7, 9, 18, 36, 1024]
    """
    step = max(1, 1 << max(0, (size - 1).bit_length() - 4))
    return -(-size // step) * step


def rows_for(g: int, m: int) -> tuple[int, int]:
    """Rows and members of a compiled answer for g groups of m members, and for others near them.

    >>> rows_for(10, 600), rows_for(9, 20), rows_for(1, 1000)
    ((12, 640), (12, 32), (1, 1024))
    """
    rows = g if g == 1 else TOGETHER * bucket(-(-g // TOGETHER))
    return rows, bucket(max(m, LEAST_MEMBERS))


def slots_for(budget: int, members: int) -> int:
    """Slots of a compiled answer for `budget` of a group of `members`, and for others near it.

    A power of two up to `MANY_SLOTS`, beyond which free ones take time: then a `bucket`.

    >>> [slots_for(budget, 1000) for budget in (1, 13, 33, 300)], slots_for(3, 5)
    ([16, 16, 64, 320], 5)
    """
    slots = max(budget, LEAST_SLOTS)
    return min(bucket(slots) if slots > MANY_SLOTS else 1 << (slots - 1).bit_length(), members)


def room_for(budget: int, slots: int, n: int) -> int:
    """Entries of a compiled answer that all `slots` of n examples' groups fit into, and `budget`.

    >>> room_for(10, 160, 1000), room_for(200, 160, 1000), room_for(10, 10**6, 1000)
    (160, 200, 1024)
    """
    return max(budget, min(slots, bucket(n)))


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


def partition(
    labels: ArrayLike,
    budget: Count | None = None,
    num_classes: Count | None = None,
    *,
    fraction: Number | None = None,
) -> Groups:
    """One group a class, budgets in proportion to the classes and adding up to `budget` exactly.

    Group c is class c; an absent class is an empty group. Labels are host data.

    Args:
        labels: (n,), classes 0..C-1 as integers of any type.
        budget: how many examples to choose of all classes together.
        num_classes: C, where the last classes may be absent.
        fraction: the budget as a share of n, in its place.

    Returns:
        Groups to hand to `select_subset` or `select_coreset` as labels, under `jit` too.

    Raises:
        UserError: labels are traced, not integers, negative, or at least `num_classes`; both or
            neither of budget and fraction.

    Example:
        >>> partition([0, 1, 1, 1], 2).members.tolist()
        [[0, -1, -1], [1, 2, 3]]
    """
    if isinstance(labels, Tracer):
        raise UserError(
            "labels are traced: make the groups outside jit with partition(labels, budget) and "
            "pass them as labels"
        )
    num_classes = None if num_classes is None else as_num_classes(num_classes)
    labels = as_labels(labels, num_classes=num_classes)
    budget = as_budget(budget, fraction, len(labels))
    num_classes = max(int(labels.max(initial=-1)) + 1, 1) if num_classes is None else num_classes
    counts = np.bincount(labels, minlength=num_classes)
    budgets = largest_remainder(counts, budget)
    members = np.full((num_classes, max(int(counts.max()), 1)), -1, np.int32)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for label, own in enumerate(by_class):
        members[label, : len(own)] = own
    return Groups(
        jnp.asarray(members),
        jnp.asarray(budgets, jnp.int32),
        jnp.asarray(labels, jnp.int32),
        max_budget=int(budgets.max(initial=0)),
        budget=int(budgets.sum()),
    )


def single_group(n: int, budget: int) -> Groups:
    """All n examples in one group."""
    budget = min(budget, n)
    members = jnp.arange(n, dtype=jnp.int32)[None]
    group_of = jnp.zeros(n, jnp.int32)
    budgets = jnp.asarray([budget], jnp.int32)
    return Groups(members, budgets, group_of, max_budget=budget, budget=budget)


def as_groups(
    labels: ArrayLike | Groups | None, n: int, budget: int, num_classes: int | None = None
) -> Groups:
    """The groups of a selection: those given, one a class, or one for all n examples.

    num_classes: where the examples say how many there are.

    Raises:
        UserError: groups of another budget or of other examples; labels of another shape, or not
            class numbers.
    """
    if labels is None:
        return single_group(n, budget)
    if not isinstance(labels, Groups):
        if isinstance(labels, Tracer):
            return partition(labels, budget)
        return partition(as_labels(labels, n, num_classes), budget, num_classes)
    if labels.budget != min(budget, n):
        raise UserError(
            f"labels are groups of a budget of {labels.budget}, not {min(budget, n)}; make "
            "them with partition(labels, budget)"
        )
    if not isinstance(labels.members, Tracer):
        members = np.asarray(labels.members)
        size = int(np.sum(members >= 0))
        if size != n or members.max(initial=-1) >= n:
            raise UserError(
                f"labels are groups of {size} examples, and there are {n}; make them with "
                "partition(labels, budget) of the same examples"
            )
    return labels


def map_groups(
    solve: Callable,
    groups: Groups,
    at_once: int,
    rows: Any,
    targets: Any = None,
    mesh: Mesh | None = None,
) -> Any:
    """`solve(members, (budgets, targets), their rows)` on `at_once` groups at a time, stacked.

    The last round is padded with empty groups of budget 0.

    Args:
        solve: of a few groups.
        groups: of the examples.
        at_once: how many share a loop.
        rows: arrays with a row an example; past a group's members they are any, or 0.
        targets: arrays with a row a group: its target, where it is not its own, and what else.
        mesh: the devices that the groups are spread over; None where they are solved on one.
    """
    each = groups.budgets, targets
    if mesh is not None:
        return map_spread(solve, rows, groups.members, each, at_once, mesh)
    rounds = -(-groups.members.shape[0] // at_once)

    def stack(x: Array, fill: int = 0) -> Array:
        return padded(x, rounds * at_once, fill).reshape(rounds, at_once, *x.shape[1:])

    def one(part):
        members, each = part
        return solve(members, each, jax.tree.map(lambda x: x[members], rows))

    return jax.lax.map(one, (stack(groups.members, -1), jax.tree.map(stack, each)))
