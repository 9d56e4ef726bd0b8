"""Every strategy by name. Listing them loads neither JAX nor Flax."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.solvers.options import Fill
from gradmatch_jax.strategies import regime as regimes
from gradmatch_jax.strategies.regime import Regime, Reselect

if TYPE_CHECKING:
    from gradmatch_jax.strategies.strategy import Strategy, Task

WARM = "-warm"
# It names folders of runs and is typed behind --strategy.
NAME = re.compile("[a-z0-9][a-z0-9_-]*")


class Entry(NamedTuple):
    """A registry line.

    build: the function that makes the strategy of a task, with keywords of its own; or
      "module:function" in this package.
    reads: whether a selection reads a pass over the data, which `pool` can cut.
    softmax: whether it reads logits as log-probabilities, and so is for the softmax cross-entropy
      alone, where others take the gradient of any loss.
    fill: what `--fill own` stands for.
    """

    build: "str | Callable[..., Strategy]"
    reselect: Reselect
    summary: str
    source: str
    regime: Regime = regimes.SUBSET
    reads: bool = True
    softmax: bool = False
    fill: Fill = "random"


STRATEGIES = {
    "full": Entry(
        "baselines:full", "once", "all examples, weight 1", "the skyline", regimes.FULL, False
    ),
    "full-earlystop": Entry(
        "baselines:full",
        "once",
        "all examples, stopped at a subset run's cost, on the long run's schedule",
        "paper's FULL-EARLYSTOP",
        regime=regimes.EARLY_STOP,
        reads=False,
    ),
    "full-earlystop-fitted": Entry(
        "baselines:full",
        "once",
        "the same with a learning-rate schedule shortened to fit",
        "the fair reading of FULL-EARLYSTOP",
        regime=regimes.EARLY_STOP_FITTED,
        reads=False,
    ),
    "random": Entry(
        "baselines:random", "once", "one random subset, kept", "paper's RANDOM", reads=False
    ),
    "adaptive-random": Entry(
        "baselines:adaptive_random",
        "epoch",
        "a fresh random subset every epoch, without replacement until the data is used up",
        "RS2, Okanovic et al. 2024",
        reads=False,
    ),
    "rs2": Entry(
        "baselines:adaptive_random",
        "epoch",
        "adaptive-random by its authors' name",
        "RS2 without replacement, Okanovic et al. 2024",
        reads=False,
    ),
    "gradmatch": Entry(
        "gradmatch:gradmatch",
        "interval",
        "OMP per class on the class's own column of the last-layer gradient, weights kept steady",
        "paper's GRAD-MATCH, appendix A.2.1",
        fill="steady",
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
        regime=regimes.SCORED,
    ),
    "glister": Entry(
        "glister:glister",
        "interval",
        "the subset whose virtual SGD step lowers the validation loss most",
        "GLISTER-ONLINE, Killamsetty et al. 2021",
        softmax=True,
    ),
    "entropy": Entry(
        "scores:entropy",
        "once",
        "the examples a trained network is least certain of",
        "Settles 2012; Coleman et al. 2020",
        regime=regimes.SCORED,
        softmax=True,
    ),
    "el2n": Entry(
        "scores:el2n",
        "once",
        "the largest errors, ‖softmax(z) - onehot(y)‖, early in training",
        "Paul, Ganguli and Dziugaite 2021",
        regime=regimes.SCORED,
    ),
    "grand": Entry(
        "scores:grand",
        "once",
        "the largest gradients over all parameters, early in training",
        "Paul, Ganguli and Dziugaite 2021",
        regime=regimes.SCORED,
    ),
    "forgetting": Entry(
        "scores:forgetting",
        "once",
        "the examples most often right at one epoch and wrong at the next",
        "Toneva et al. 2019",
        regime=regimes.SCORED,
        reads=False,
        softmax=True,
    ),
    "gradmatch-fresh": Entry(
        "gradmatch:gradmatch",
        "epoch",
        "gradmatch anew every epoch, which a small --pool makes cheap",
        "GRAD-MATCH with R = 1",
        fill="steady",
    ),
    "tempered": Entry(
        "fresh:tempered",
        "epoch",
        "a fresh draw every epoch, likelier where training last erred more, weighted against that",
        "importance sampling at a fixed budget, tempered",
        reads=False,
    ),
    "balanced": Entry(
        "balanced:balanced",
        "epoch",
        "adaptive-random, each epoch and mini-batch dealt nearly the gradient of all the data",
        "GraB's balancing (Lu et al. 2022), widened to parts",
        reads=False,
    ),
    "order-dp": Entry(
        "fresh:order_dp",
        "epoch",
        "of a fresh draw every epoch, the examples of largest last-seen loss",
        "OrderDP, ICLR 2026",
        reads=False,
    ),
    "infobatch": Entry(
        "infobatch:infobatch",
        "epoch",
        "each epoch drops half of the losses below the mean and doubles the other half",
        "Qin et al. 2024",
        regime=regimes.PRUNING,
        reads=False,
    ),
}


def register(name: str, entry: Entry) -> None:
    """Add a strategy of your own, to be named in a `TrainConfig` like those that are here.

    Args:
        name: what it is called; lower case, no spaces.
        entry: its line.

    Returns:
        Nothing; `STRATEGIES` has it from now on.

    Raises:
        UserError: the name is taken or is none, or ends in "-warm", which means the warm start; or
            the entry is none.

    Example:
        >>> from gradmatch_jax.strategies.baselines import random
        >>> register("my-random", Entry(random, "epoch", "a fresh draw every epoch", "me"))
        >>> STRATEGIES.pop("my-random").reselect
        'epoch'
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name for a strategy; use lower-case letters, digits and hyphens"
        )
    if name in STRATEGIES:
        raise UserError(f"there is a strategy {name!r} already; choose another name")
    if name.endswith(WARM):
        raise UserError(f"{name!r}: -warm is added by the driver; choose a name without it")
    STRATEGIES[name] = checked_entry(name, entry)


def checked_entry(name: str, entry: Entry) -> Entry:
    """`entry`, if it is one.

    Raises:
        UserError: it is no `Entry`, cannot be called, or `reselect` is none of the rhythms.
    """
    if not isinstance(entry, Entry) or not (callable(entry.build) or isinstance(entry.build, str)):
        raise UserError(
            f"strategy {name!r}: pass Entry(function of the task, reselect, summary, source)"
        )
    if entry.reselect not in get_args(Reselect):
        raise no_such("reselect", entry.reselect, get_args(Reselect))
    if isinstance(entry.build, str) and entry.build.count(":") != 1:
        raise UserError(
            f"strategy {name!r}: build is a function of the task, or 'module:function' in this "
            f"package, not {entry.build!r}"
        )
    if not isinstance(entry.regime, Regime):
        raise UserError(f"strategy {name!r}: regime must be a Regime, not {entry.regime!r}")
    return entry


def find_entry(name: str) -> Entry:
    """The registry's line of `name`.

    Raises:
        UserError: there is none; the nearest name is suggested.
    """
    if name not in STRATEGIES:
        raise no_such("strategy", name, STRATEGIES)
    return STRATEGIES[name]


def split_name(strategy: str) -> tuple[str, bool]:
    """("gradmatch", True) of "gradmatch-warm"."""
    return strategy.removesuffix(WARM), strategy.endswith(WARM)


def builder(entry: Entry) -> "Callable[..., Strategy]":
    """The function that makes the strategy."""
    if not isinstance(entry.build, str):
        return entry.build
    module, function = entry.build.split(":")
    return getattr(importlib.import_module(f"gradmatch_jax.strategies.{module}"), function)


def keywords(entry: Entry) -> frozenset[str]:
    """The settings that a strategy takes: the names of its function's parameters but the task."""
    parameters = list(inspect.signature(builder(entry)).parameters.values())[1:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(p.name for p in parameters if p.kind in named)


def build_strategy(
    strategy: "str | Entry", task: "Task", settings: Mapping[str, Any] | None = None
) -> "Strategy":
    """Build a strategy for a task, with those of `settings` that its signature names.

    Args:
        strategy: a name of `STRATEGIES`, or an entry.
        task: what is known before training.
        settings: by keyword; "options" are the `MatchingOptions`. What is not among them is left at
          the function's own default.

    Raises:
        UserError: no strategy has the name.
    """
    entry = strategy if isinstance(strategy, Entry) else find_entry(strategy)
    wanted, settings = keywords(entry), settings or {}
    made = builder(entry)(task, **{name: settings[name] for name in settings if name in wanted})
    if not hasattr(made, "select"):
        raise UserError(f"a strategy's function must return a Strategy, not {made!r:.40}")
    return made
