"""The plan of a run: which epochs are full, which train on a subset, and when to select.

A pure function from the settings to a list of epochs, so that it can be read, tested and resumed.
"""

import math
from typing import Literal, NamedTuple

from gradmatch_jax.errors import UserError

# When a strategy draws a new subset: at its first epoch, every R epochs, or every epoch.
Reselect = Literal["once", "interval", "epoch"]


class Epoch(NamedTuple):
    """One epoch of the plan."""

    full: bool  # trains on all examples, unweighted
    select: bool  # a new subset is selected before it
    progress: float  # position in the learning-rate schedule: 0 at the first epoch, below 1


def plan(
    epochs: int,
    fraction: float,
    *,
    warm: bool = False,
    kappa: float = 0.5,
    select_every: int = 20,
    reselect: Reselect = "interval",
    full: bool = False,
) -> list[Epoch]:
    """The epochs of a run (paper, Algorithm 1 and appendix A.2.1, "Warm-starting").

    Cold: T = `epochs` epochs on subsets. Warm: T_f = T_s k/n full epochs, then T_s = kappa T on
    subsets, so that at kappa = 1/2 a warm run costs what a cold one does: T k/n full epochs. Both
    counts are rounded, T_f up to at least one epoch. The learning rate's schedule spans the epochs
    that are run. Selections happen at the first subset epoch and as `reselect` says after it.

    >>> [(e.full, e.select) for e in plan(4, 0.5, warm=True, select_every=2)]
    [(True, False), (False, True), (False, False)]
    """
    if full:
        full_epochs, subset_epochs = epochs, 0
    elif warm:
        subset_epochs = max(1, round(kappa * epochs))
        full_epochs = max(1, round(subset_epochs * fraction))
    else:
        full_epochs, subset_epochs = 0, epochs
    interval = {"once": math.inf, "interval": select_every, "epoch": 1}[reselect]
    total = full_epochs + subset_epochs
    result = [Epoch(True, False, i / total) for i in range(full_epochs)]
    for i in range(subset_epochs):
        select = i == 0 or (i % interval == 0)
        result.append(Epoch(False, select, (full_epochs + i) / total))
    return result


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
