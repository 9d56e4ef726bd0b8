"""The choice of a learning rate by validation accuracy, and what the paired seeds say."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Record = dict[str, Any]


def chosen(records: Sequence[Record], tuned_on: Sequence[int]) -> float | None:
    """The learning rate of the best mean validation accuracy at the last epoch.

    Of equal ones the smallest; a rate at which a run diverged is out.

    Args:
        records: an arm's, at every rate.
        tuned_on: the seeds that count.

    Returns:
        None where no rate has all of them.
    """
    scores: dict[float, dict[int, float]] = {}
    for record in records:
        rate = scores.setdefault(record["config"]["lr"], {})
        rate[record["seed"]] = record.get("validation_accuracy", -1.0)
    whole = {
        lr: statistics.fmean(found[seed] for seed in tuned_on)
        for lr, found in sorted(scores.items())
        if all(found.get(seed, -1.0) >= 0 for seed in tuned_on)
    }
    return max(whole, key=lambda lr: whole[lr]) if whole else None


class Verdict(NamedTuple):
    """An arm against another on the same seeds."""

    n: int
    difference: float | None  # points of test accuracy, the mean over the pairs
    p_t: float | None  # one-tailed: that the arm is not better
    p_wilcoxon: float | None


def verdict(arm: Iterable[Record], other: Iterable[Record]) -> Verdict:
    """Paired by seed; p-values of two pairs or more."""
    ours, theirs = _by_seed(arm), _by_seed(other)
    shared = sorted(ours.keys() & theirs.keys())
    # Rounded: 98.1 - 98.0 and 97.1 - 97.0 are a tie.
    differences = np.round([ours[seed] - theirs[seed] for seed in shared], 6)
    if len(shared) < 2 or not np.any(differences):
        return Verdict(len(shared), float(differences.mean()) if len(shared) else None, None, None)
    t: Any = stats.ttest_1samp(differences, 0.0, alternative="greater")
    signed: Any = stats.wilcoxon(differences, alternative="greater", method="exact")
    p_t = float(t.pvalue) if np.ptp(differences) else None  # no spread, no t
    return Verdict(len(shared), float(differences.mean()), p_t, float(signed.pvalue))


SURE = 0.01  # of one tail


def mark(found: Verdict) -> str:
    """The difference as a cell: in bold where p < 0.01, one-tailed, that it is none, either way.

    >>> mark(Verdict(5, 0.148, 0.0004, 0.031)), mark(Verdict(5, -0.3, 0.97, 1.0))
    ('**+0.15**', '-0.30')
    """
    if found.difference is None:
        return "–"
    said = f"{found.difference:+.2f}"
    return f"**{said}**" if ahead(found) or behind(found) else said


def ahead(found: Verdict) -> bool:
    """Whether p < 0.01 that the arm is no better."""
    return found.p_t is not None and found.p_t < SURE


def behind(found: Verdict) -> bool:
    """Whether p < 0.01 that the other is no better."""
    return found.p_t is not None and 1 - found.p_t < SURE


def _by_seed(records: Iterable[Record]) -> dict[int, float]:
    return {r["seed"]: r["test_accuracy"] for r in records if "failed" not in r}
