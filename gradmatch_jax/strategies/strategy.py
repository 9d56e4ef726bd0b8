"""What a strategy is: pure functions that carry a state and answer with a `Selection`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection import Selection

State = Any  # a pytree of arrays, saved with the training state


class Task(NamedTuple):
    """What is known before training: the selection problem's size and labels (host data)."""

    labels: Int[np.ndarray, "n"]
    num_classes: int
    budget: int


class Options(NamedTuple):
    """The knobs strategies share; each uses those that apply to it."""

    lam: float = 0.5
    lam_scale: str = "absolute"
    eps: float = 1e-10
    nonnegative: bool = True
    fill: str = "random"
    batch_size: int = 20
    validation_target: bool = False


class Snapshot(NamedTuple):
    """The model's last-layer gradients at selection time, in data-set order."""

    gradients: LastLayerGradients
    validation: LastLayerGradients | None = None
    validation_labels: Int[Array, "v"] | None = None


class Strategy(NamedTuple):
    """A way to choose the subset: `init` a state, `select` from it.

    init: key -> state.
    select: (state, snapshot, key) -> (selection, state); snapshot is None unless
      `needs_gradients`. Pure: the same arguments give the same answer.
    """

    needs_gradients: bool
    init: Callable[[PRNGKeyArray], State]
    select: Callable[[State, Snapshot | None, PRNGKeyArray], tuple[Selection, State]]


def stateless(key: PRNGKeyArray) -> State:
    """The state of a strategy that carries nothing on."""
    del key
    return {}
