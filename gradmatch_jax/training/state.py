"""What a run is made of: its fixed parts, and all that a resumed run needs."""

from typing import Any, Literal, NamedTuple

import jax

from gradmatch_jax.measure.clock import Times
from gradmatch_jax.measure.energy import Meter
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.strategy import Strategy
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.schedule import Epoch
from gradmatch_jax.training.steps import Learner, Steps


class TrainState(NamedTuple):
    """All that a resumed run needs; randomness comes from the seed and the epoch."""

    learner: Learner
    proxy: Any  # the Learner that scores, or () where the run has none
    selection: Selection
    strategy: Any
    epoch: Any  # epochs done, the proxy's among them
    times: Times
    joules: Any  # of training and selection, compiling included; nan where nothing measures them


class Limit(NamedTuple):
    """Stop after the epoch that reaches `amount`, whatever the plan says."""

    unit: Literal["seconds", "energy"]  # of training and selection; energy in joules
    amount: float


class Run(NamedTuple):
    """The fixed parts of a run."""

    config: TrainConfig
    plan: list[Epoch]
    limit: Limit | None
    meter: Meter
    steps: Steps
    proxy_steps: Steps | None
    strategy: Strategy
    train: Feed
    validation: Feed
    test: Feed
    key: jax.Array
