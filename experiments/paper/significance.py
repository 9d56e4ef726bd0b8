"""Table 6's test: one-tailed Wilcoxon signed-rank p-values of every pair of strategies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.paper.lines import accuracy_of
from experiments.paper.rows import label
from gradmatch_jax.report.summary import ended

Where = tuple[str, str, float, int]  # data set, network, fraction, seed
Accuracies = Mapping[str, Mapping[Where, float]]


class Tested(NamedTuple):
    """A pair's answer."""

    p: float | None  # None: no pair of runs differs
    n: int  # pairs of runs

    @property
    def least(self) -> float:
        """The smallest p that n pairs can give."""
        return 0.5**self.n


def accuracies(runs: Iterable[dict[str, Any]]) -> Accuracies:
    """Each strategy's accuracy by where it was measured; those without a fraction are left out.

    Two strategies are paired where data set, network, fraction and seed agree, and the seed sets
    the initial weights and the split of both. Of several records of one run the first counts.
    """
    found: dict[str, dict[Where, float]] = {}
    for run in ended(runs):
        if run["fraction"] < 1:
            where = run["dataset"], run["model"], run["fraction"], run["seed"]
            found.setdefault(label(run), {}).setdefault(where, accuracy_of(run))
    return found


def better(first: Mapping[Where, float], second: Mapping[Where, float]) -> Tested:
    """p of the null hypothesis that `first` is not more accurate than `second`.

    Example:
        >>> ours = {("d", "m", 0.1, seed): 90.0 + seed for seed in range(5)}
        >>> theirs = {where: value - 1 - value / 100 for where, value in ours.items()}
        >>> better(ours, theirs)  # all five differences are positive: 1 in 2⁵
        Tested(p=0.03125, n=5)
    """
    shared = sorted(first.keys() & second.keys())
    # Rounded: 98.1 - 98.0 and 97.1 - 97.0 are a tie.
    differences = np.round([first[w] - second[w] for w in shared], 6)
    moved = differences[differences != 0]
    return Tested(signed_rank(moved) if len(moved) else None, len(shared))


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
