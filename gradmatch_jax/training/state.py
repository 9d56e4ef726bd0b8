"""What a run is made of: its fixed parts, and all that a resumed run needs."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from gradmatch_jax.measure.clock import Times
from gradmatch_jax.measure.energy import Meter
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.strategy import Strategy
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.placement import Placement
from gradmatch_jax.training.schedule import Epoch, Network, Schedule
from gradmatch_jax.training.steps import Learner, Steps


class TrainState(NamedTuple):
    """All that a resumed run needs; randomness comes from the seed and the epoch."""

    networks: dict[Network, Learner]  # "model", and "proxy" where another network scores
    selection: Selection
    strategy: Any
    epoch: Any  # epochs done, the proxy's among them
    times: Times
    joules: Any  # of training and selection, compiling included; nan where nothing measures them

    @property
    def learner(self) -> Learner:
        """The network that the run is about."""
        return self.networks["model"]


class Limit(NamedTuple):
    """Stop after the epoch that reaches `amount`, whatever the plan says."""

    unit: Literal["seconds", "energy"]  # of training and selection; energy in joules
    amount: float
    fitted: bool  # the learning rate's schedule goes by what is spent


class Run(NamedTuple):
    """The fixed parts of a run: all that the loop reads."""

    name: str  # the strategy's
    plan: list[Epoch]
    limit: Limit | None
    lr: float  # of the first epoch
    schedule: Schedule  # of the epochs after it
    batch_size: int
    eval_every: int
    checkpoint_seconds: float
    checkpoint_steps: int
    steps: Mapping[Network, Steps]
    scorer: Network  # whose passes the strategy reads, and whose epochs it observes
    strategy: Strategy
    train: Feed
    validation: Feed
    test: Feed
    pass_dtype: str | None  # what a selection's pass is kept in; None: as the network gives it
    place: Placement  # over the devices
    meter: Meter
    key: jax.Array
    facts: dict[str, Any]  # of the result: what was run, on what
    num_classes: int
    rows: dict[str, Int[np.ndarray, "n"]]  # "train_rows", "validation_rows": the user's, of each
