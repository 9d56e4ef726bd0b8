"""How a strategy's run is laid out: full training, proxies and pruning, as values.

No JAX here: the command line reads the registry to print its help.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

# When a strategy draws a new subset: at its first epoch, every R epochs, or every epoch.
Reselect = Literal["once", "interval", "epoch"]

# How SGD scales the weights of a selection: to mean 1 over the selection, to mean 1 in each
# mini-batch, or not at all.
Weighting = Literal["selection", "batch", "none"]


class Cut(NamedTuple):
    """Full training that stops once it has cost what a run on subsets costs."""

    fitted: bool  # its learning-rate schedule is shortened to what is run


@dataclass(frozen=True)
class Regime:
    """What kind of run a strategy makes. The default trains on k examples at a time.

    subsets: it trains on what was selected; else on all examples, every epoch.
    budgeted: it takes a fraction k/n.
    cut: full training stops early.
    scored: it selects by scores of a network that has trained on all the data before: a proxy's
      run, or the warm start's own epochs.
    tail: the last epochs, a share of the run, train on all examples.
    whole_batches: a ragged last mini-batch is left out, where subsets differ in size and each size
      would compile.
    """

    subsets: bool = True
    budgeted: bool = True
    cut: Cut | None = None
    scored: bool = False
    tail: bool = False
    whole_batches: bool = False

    @property
    def warms(self) -> bool:
        """Whether it can start with epochs on everything."""
        return self.subsets and self.budgeted


SUBSET = Regime()
SCORED = Regime(scored=True)
FULL = Regime(subsets=False, budgeted=False)
EARLY_STOP = Regime(subsets=False, cut=Cut(fitted=False))
EARLY_STOP_FITTED = Regime(subsets=False, cut=Cut(fitted=True))
PRUNING = Regime(budgeted=False, tail=True, whole_batches=True)
