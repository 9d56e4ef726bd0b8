"""Every strategy by name. Listing them loads neither JAX nor Flax."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.schedule import Reselect

if TYPE_CHECKING:
    from gradmatch_jax.strategies.strategy import Options, Strategy, Task


# subset: k examples at a time. scored: k examples, once, ranked by a network that has trained on
# all the data: a proxy's run, or the warm start's epochs. full: everything, every epoch.
# early-stop: everything, for as long as a run on k examples would last. pruning: epochs of its own
# choice of size, all the data at the end.
Kind = Literal["subset", "scored", "full", "early-stop", "pruning"]


class Entry(NamedTuple):
    """A registry line."""

    # (Task, Options) -> Strategy: the function, or "module:function" in this package
    build: "str | Callable[[Task, Options], Strategy]"
    reselect: Reselect
    summary: str
    source: str
    kind: Kind = "subset"


STRATEGIES = {
    "full": Entry("baselines:full", "once", "all examples, weight 1", "the skyline", kind="full"),
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


def register(name: str, entry: Entry) -> None:
    """Add a strategy of your own, to be named in a `TrainConfig` like those that are here.

    Raises:
        UserError: the name is taken, or ends in "-warm", which means the warm start.
    """
    if name in STRATEGIES:
        raise UserError(f"there is a strategy {name!r} already; choose another name")
    if name.endswith("-warm"):
        raise UserError(f"{name!r}: -warm is added by the driver; choose a name without it")
    STRATEGIES[name] = entry


def build_strategy(name: str, task: "Task", options: "Options") -> "Strategy":
    """Build the strategy `name` of `STRATEGIES` for a task."""
    build = STRATEGIES[name].build
    if isinstance(build, str):
        module, function = build.split(":")
        build = getattr(importlib.import_module(f"gradmatch_jax.strategies.{module}"), function)
    return build(task, options)
