"""Table 6's test: one-tailed Wilcoxon signed-rank p-values of every pair of strategies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.paper.lines import accuracy_of
from experiments.paper.rows import label, place_of
from gradmatch_jax.report.summary import ended

Where = tuple[str, str, float, int]  # data set, network, fraction, seed
Places = Mapping[str, float]  # a run's accuracy by the device that it was made on
Accuracies = Mapping[str, Mapping[Where, Places]]


class Tested(NamedTuple):
    """A pair's answer."""

    p: float | None  # None: no pair of runs differs
    n: int  # pairs of runs
    mixed: int  # of these, those whose two runs are of two devices

    @property
    def least(self) -> float:
        """The smallest p that n pairs can give."""
        return 0.5**self.n


def accuracies(runs: Iterable[dict[str, Any]]) -> Accuracies:
    """Each strategy's accuracies by where they were measured; without a fraction none.

    Two strategies are paired where data set, network, fraction and seed agree, and the seed sets
    the initial weights and the split of both. Of several records on one device the first counts.
    """
    found: dict[str, dict[Where, dict[str, float]]] = {}
    for run in ended(runs):
        if run["fraction"] < 1:
            where = run["dataset"], run["model"], run["fraction"], run["seed"]
            places = found.setdefault(label(run), {}).setdefault(where, {})
            places.setdefault(place_of(run), accuracy_of(run))
    return found


def pair(first: Places, second: Places) -> tuple[float, float, bool]:
    """Two runs to compare, and whether they are of two devices.

    Of a device that both were made on, the first by name, so that the answer is the same the other
    way round; else the first record of each.

    >>> pair({"a": 1.0, "b": 2.0}, {"b": 3.0}), pair({"a": 1.0}, {"b": 3.0})
    ((2.0, 3.0, False), (1.0, 3.0, True))
    """
    if both := first.keys() & second.keys():
        place = min(both)
        return first[place], second[place], False
    return next(iter(first.values())), next(iter(second.values())), True


def better(first: Mapping[Where, Places], second: Mapping[Where, Places]) -> Tested:
    """p of the null hypothesis that `first` is not more accurate than `second`.

    Example:
        >>> ours = {("d", "m", 0.1, seed): {"a": 90.0 + seed} for seed in range(5)}
        >>> theirs = {where: {"a": 0.99 * x["a"] - 1} for where, x in ours.items()}
        >>> better(ours, theirs)  # all five differences are positive: 1 in 2⁵
        Tested(p=0.03125, n=5, mixed=0)
    """
    pairs = [pair(first[where], second[where]) for where in sorted(first.keys() & second.keys())]
    # Rounded: 98.1 - 98.0 and 97.1 - 97.0 are a tie.
    differences = np.round([a - b for a, b, _ in pairs], 6)
    moved = differences[differences != 0]
    p = signed_rank(moved) if len(moved) else None
    return Tested(p, len(pairs), sum(mixed for _, _, mixed in pairs))


def signed_rank(differences: np.ndarray) -> float:
    """The exact one-tailed p of Wilcoxon's signed-rank test, ties of size among the differences.

    SciPy's exact distribution knows no ties, and its permutations are 2ⁿ: here the assignments of
    signs are counted by the sum of positive ranks that they have.

    >>> signed_rank(np.array([1.0, 2.0, 2.0, -1.0]))  # 3 of 16 have a sum of 8.5 or more
    0.1875
    """
    twice = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)
    counts = np.zeros(twice.sum() + 1)
    counts[0] = 1
    for rank in twice:
        counts[rank:] += counts[: len(counts) - rank].copy()
    return float(counts[twice[differences > 0].sum() :].sum() / counts.sum())


def matrix(measured: Accuracies, names: Sequence[str]) -> dict[tuple[str, str], Tested]:
    """`better` of every ordered pair."""
    return {
        (row, column): better(measured.get(row, {}), measured.get(column, {}))
        for row in names
        for column in names
        if row != column
    }
