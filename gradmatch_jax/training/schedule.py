"""The plan of a run: which epochs are full, which train on a subset, and when to select.

A pure function from the settings to a list of epochs, so that it can be read, tested and resumed.
"""

import math
from typing import Literal, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies.regime import SUBSET, Regime, Reselect, Weighting

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "linear", "constant"]  # of the learning rate
Network = Literal["model", "proxy"]  # what an epoch trains
Bill = Literal["train", "selection"]  # what its time is counted as


class Batching(NamedTuple):
    """How an epoch's examples become mini-batches."""

    weights: Weighting = "selection"  # where they are brought to mean 1
    whole: bool = False  # a ragged last batch is left out
    ordered: bool = False  # they are the selection's examples as they stand, not shuffled


UNWEIGHTED = Batching("none")


class Epoch(NamedTuple):
    """One epoch of the plan."""

    full: bool  # trains on all examples, unweighted
    select: bool  # a new subset is selected before it
    progress: float  # position in the learning-rate schedule: 0 at the first epoch, below 1
    network: Network = "model"
    bill: Bill = "train"
    fresh: bool = False  # its network starts anew
    batching: Batching = UNWEIGHTED


def plan(
    epochs: int,
    share: float,
    *,
    regime: Regime = SUBSET,
    reselect: Reselect = "interval",
    weighting: Weighting = "selection",
    ordered: bool = False,
    warm: bool = False,
    kappa: float = 0.5,
    select_every: int = 20,
    tail: float = 0.125,
    proxy_epochs: int = 0,
    proxy_runs: int = 1,
) -> list[Epoch]:
    """The epochs of a run (paper, Algorithm 1 and appendix A.2.1, "Warm-starting").

    Cold: T = `epochs` epochs on subsets. Warm: T_f = T_s k/n full epochs, then T_s = kappa T on
    subsets, so that at kappa = 1/2 a warm run costs what a cold one does: T k/n full epochs. Both
    counts are rounded, T_f up to at least one epoch. The learning rate's schedule spans the epochs
    that are run. Selections happen at the first subset epoch and as `reselect` says after it.

    A run that is cut (early stop) has T k/n full epochs, the first of a schedule of T, or fitted to
    one of their own. Pruning ends with a `tail` of full epochs. A scored run begins with full
    epochs of another network, `proxy_runs` times from a fresh start, with a selection after each.

    Args:
        epochs: T.
        share: what a run on subsets costs of full training, k/n as a rule.
        regime: what kind of run the strategy makes.
        reselect: when it draws a new subset.
        weighting: where the subset's weights are brought to mean 1.
        ordered: the subset's order is that of training.
        warm: start with full epochs, where the regime can.
        kappa: share of T on subsets in a warm run.
        select_every: R.
        tail: share of the last epochs on everything, where the regime has one.
        proxy_epochs: epochs of each proxy; 0 for none.
        proxy_runs: how many proxies.

    Returns:
        The epochs in order, the proxies' first.

    Example:
        >>> [(e.full, e.select) for e in plan(4, 0.5, warm=True, select_every=2)]
        [(True, False), (False, True), (False, False)]
    """
    proxies = [
        Epoch(True, run > 0 and i == 0, i / proxy_epochs, "proxy", "selection", fresh=i == 0)
        for run in range(proxy_runs)
        for i in range(proxy_epochs)
    ]
    if not regime.subsets:
        run = epochs if regime.cut is None else max(1, round(epochs * share))
        fitted = regime.cut is None or regime.cut.fitted
        return _full(run, run if fitted else epochs)
    after = round(epochs * tail) if regime.tail else 0
    subset_epochs, before = epochs - after, 0
    if warm and regime.warms:
        subset_epochs = max(1, round(kappa * epochs))
        before = max(1, round(subset_epochs * share))
    interval = {"once": math.inf, "interval": select_every, "epoch": 1}[reselect]
    total = before + subset_epochs + after
    batching = Batching(weighting, regime.whole_batches, ordered)
    subsets = [
        Epoch(False, i == 0 or i % interval == 0, (before + i) / total, batching=batching)
        for i in range(subset_epochs)
    ]
    return proxies + _full(before, total) + subsets + _full(total, total)[total - after :]


def _full(count: int, total: int) -> list[Epoch]:
    """The first `count` of `total` epochs on everything."""
    return [Epoch(True, False, i / total) for i in range(count)]


def cosine(lr: float, progress: float) -> float:
    """Cosine annealing to 0 over the run, a constant within each epoch (Loshchilov & Hutter)."""
    if not 0 <= progress <= 1:
        raise UserError(f"progress must lie in [0, 1], not {progress}")
    return lr * 0.5 * (1 + math.cos(math.pi * progress))


def learning_rate(schedule: Schedule, lr: float, progress: float) -> float:
    """The learning rate at a place in the run: down to 0 by a cosine or a line, or as it is.

    >>> [learning_rate(schedule, 0.1, 0.25) for schedule in ("linear", "constant")]
    [0.075..., 0.1]
    """
    if schedule == "cosine":
        return cosine(lr, progress)
    return lr * (1 - progress) if schedule == "linear" else lr


def budget_of(fraction: float, n: int) -> int:
    """k = round(fraction n), at least 1.

    Raises:
        UserError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction must be above 0 and at most 1, not {fraction}")
    return max(1, round(fraction * n))
