"""The plan of a run: which epochs are full, which train on a subset, and when to select.

A pure function from the settings to a list of epochs, so that it can be read, tested and resumed.
"""

import math
from typing import Literal, NamedTuple

from gradmatch_jax.errors import UserError

# When a strategy draws a new subset: at its first epoch, every R epochs, or every epoch.
Reselect = Literal["once", "interval", "epoch"]

# What kind of run a strategy makes.
#   subset: k examples at a time.
#   scored: k examples, chosen once, by scores of a network that has trained on all the data: a
#     proxy's run before, or the warm start's epochs.
#   full: all examples, every epoch.
#   early-stop: all examples, for the cost of a subset run, on the schedule of the long run.
#   early-stop-fitted: the same cost, the schedule shortened to fit.
#   pruning: epochs on as many examples as it likes, the last eighth on all of them.
Kind = Literal["subset", "scored", "full", "early-stop", "early-stop-fitted", "pruning"]
FULL_KINDS = ("full", "early-stop", "early-stop-fitted")  # no subset at all
PRUNING_TAIL = 1 / 8  # InfoBatch's 1 - delta


class Epoch(NamedTuple):
    """One epoch of the plan."""

    full: bool  # trains on all examples, unweighted
    select: bool  # a new subset is selected before it
    progress: float  # position in the learning-rate schedule: 0 at the first epoch, below 1
    proxy: bool = False  # trains the network that scores, which is part of selecting
    fresh: bool = False  # the proxy starts anew


def plan(
    epochs: int,
    fraction: float,
    *,
    kind: Kind = "subset",
    warm: bool = False,
    kappa: float = 0.5,
    select_every: int = 20,
    reselect: Reselect = "interval",
    proxy_epochs: int = 0,
    proxy_runs: int = 1,
) -> list[Epoch]:
    """The epochs of a run (paper, Algorithm 1 and appendix A.2.1, "Warm-starting").

    Cold: T = `epochs` epochs on subsets. Warm: T_f = T_s k/n full epochs, then T_s = kappa T on
    subsets, so that at kappa = 1/2 a warm run costs what a cold one does: T k/n full epochs. Both
    counts are rounded, T_f up to at least one epoch. The learning rate's schedule spans the epochs
    that are run. Selections happen at the first subset epoch and as `reselect` says after it.

    early-stop: T k/n full epochs, the first of a schedule of T, or fitted to one of their own.
    pruning: a selection every epoch but the last eighth, which is full.
    proxy_epochs: full epochs of another network before, `proxy_runs` times from a fresh start,
      with a selection after each of these runs.

    >>> [(e.full, e.select) for e in plan(4, 0.5, warm=True, select_every=2)]
    [(True, False), (False, True), (False, False)]
    """
    proxies = [
        Epoch(True, run > 0 and i == 0, i / proxy_epochs, proxy=True, fresh=i == 0)
        for run in range(proxy_runs)
        for i in range(proxy_epochs)
    ]
    if kind in FULL_KINDS:
        cut = epochs if kind == "full" else max(1, round(epochs * fraction))
        return _full(cut, epochs if kind == "early-stop" else cut)
    before, tail = 0, 0
    if kind == "pruning":
        tail = round(epochs * PRUNING_TAIL)
    subset_epochs = epochs - tail
    if warm:
        subset_epochs = max(1, round(kappa * epochs))
        before = max(1, round(subset_epochs * fraction))
    interval = {"once": math.inf, "interval": select_every, "epoch": 1}[reselect]
    total = before + subset_epochs + tail
    result = proxies + _full(before, total)
    for i in range(subset_epochs):
        select = i == 0 or (i % interval == 0)
        result.append(Epoch(False, select, (before + i) / total))
    return result + _full(total, total)[total - tail :]


def _full(count: int, total: int) -> list[Epoch]:
    """The first `count` of `total` epochs on everything."""
    return [Epoch(True, False, i / total) for i in range(count)]


def cosine(lr: float, progress: float) -> float:
    """Cosine annealing to 0 over the run, a constant within each epoch (Loshchilov & Hutter)."""
    if not 0 <= progress <= 1:
        raise UserError(f"progress must lie in [0, 1], not {progress}")
    return lr * 0.5 * (1 + math.cos(math.pi * progress))


def budget_of(fraction: float, n: int) -> int:
    """k = round(fraction n), at least 1.

    Raises:
        UserError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction must be above 0 and at most 1, not {fraction}")
    return max(1, round(fraction * n))
