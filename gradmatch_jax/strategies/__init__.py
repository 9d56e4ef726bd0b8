"""Every strategy by name. Listing them loads neither JAX nor Flax."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.training.schedule import Kind, Reselect

if TYPE_CHECKING:
    from gradmatch_jax.strategies.strategy import Options, Strategy, Task


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
    "full-earlystop": Entry(
        "baselines:full",
        "once",
        "all examples, stopped at a subset run's cost, on the long run's schedule",
        "paper's FULL-EARLYSTOP",
        kind="early-stop",
    ),
    "full-earlystop-fitted": Entry(
        "baselines:full",
        "once",
        "the same with a learning-rate schedule shortened to fit",
        "the fair reading of FULL-EARLYSTOP",
        kind="early-stop-fitted",
    ),
    "random": Entry("baselines:random", "once", "one random subset, kept", "paper's RANDOM"),
    "adaptive-random": Entry(
        "baselines:adaptive_random",
        "epoch",
        "a fresh random subset every epoch, without replacement until the data is used up",
        "RS2, Okanovic et al. 2024",
    ),
    "rs2": Entry(
        "baselines:adaptive_random",
        "epoch",
        "adaptive-random by its authors' name",
        "RS2 without replacement, Okanovic et al. 2024",
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
    "craig": Entry(
        "craig:craig",
        "interval",
        "facility location per class on the whole last-layer gradient, cluster sizes as weights",
        "CRAIG, Mirzasoleiman et al. 2020",
    ),
    "craig-pb": Entry(
        "craig:craig_pb",
        "interval",
        "CRAIG on mini-batch mean gradients; whole batches are selected",
        "paper's CRAIGPB",
    ),
    "facility-location": Entry(
        "craig:facility_location",
        "once",
        "facility location per class on a trained network's features, unweighted",
        "Coleman et al. 2020",
        kind="scored",
    ),
    "glister": Entry(
        "glister:glister",
        "interval",
        "the subset whose virtual SGD step lowers the validation loss most",
        "GLISTER-ONLINE, Killamsetty et al. 2021",
    ),
    "entropy": Entry(
        "scores:entropy",
        "once",
        "the examples a trained network is least certain of",
        "Settles 2012; Coleman et al. 2020",
        kind="scored",
    ),
    "el2n": Entry(
        "scores:el2n",
        "once",
        "the largest errors, ‖softmax(z) - onehot(y)‖, early in training",
        "Paul, Ganguli and Dziugaite 2021",
        kind="scored",
    ),
    "grand": Entry(
        "scores:grand",
        "once",
        "the largest gradients over all parameters, early in training",
        "Paul, Ganguli and Dziugaite 2021",
        kind="scored",
    ),
    "forgetting": Entry(
        "scores:forgetting",
        "once",
        "the examples most often right at one epoch and wrong at the next",
        "Toneva et al. 2019",
        kind="scored",
    ),
    "infobatch": Entry(
        "infobatch:infobatch",
        "epoch",
        "each epoch drops half of the losses below the mean and doubles the other half",
        "Qin et al. 2024",
        kind="pruning",
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
