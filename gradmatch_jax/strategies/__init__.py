"""Every strategy by name. Listing them loads neither JAX nor Flax."""

import importlib
from typing import TYPE_CHECKING, NamedTuple

from gradmatch_jax.schedule import Reselect

if TYPE_CHECKING:
    from gradmatch_jax.strategies.strategy import Options, Strategy, Task


class Entry(NamedTuple):
    """A registry line."""

    build: str  # "module:function" of (Task, Options) -> Strategy
    reselect: Reselect
    summary: str
    source: str


STRATEGIES = {
    "full": Entry("baselines:full", "once", "all examples, weight 1", "the skyline"),
    "random": Entry("baselines:random", "once", "one random subset, kept", "paper's RANDOM"),
    "adaptive-random": Entry(
        "baselines:adaptive_random",
        "epoch",
        "a fresh random subset every epoch, without replacement until the data is used up",
        "RS2, Okanovic et al. 2024",
    ),
    "gradmatch": Entry(
        "gradmatch:gradmatch",
        "interval",
        "OMP per class on the class's own column of the last-layer gradient",
        "paper's GRAD-MATCH, appendix A.2.1",
    ),
    "gradmatch-per-class": Entry(
        "gradmatch:gradmatch_per_class",
        "interval",
        "OMP per class on the whole last-layer gradient, exactly",
        "paper's PerClass variant, Table 10",
    ),
    "gradmatch-pb": Entry(
        "gradmatch:gradmatch_pb",
        "interval",
        "OMP on mini-batch mean gradients; whole batches are selected",
        "paper's GRAD-MATCHPB, section 2",
    ),
}


def build_strategy(name: str, task: "Task", options: "Options") -> "Strategy":
    """Build the strategy `name` of `STRATEGIES` for a task."""
    module, function = STRATEGIES[name].build.split(":")
    built = importlib.import_module(f"gradmatch_jax.strategies.{module}")
    return getattr(built, function)(task, options)
