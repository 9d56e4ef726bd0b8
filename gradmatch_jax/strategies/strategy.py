"""What a strategy is: pure functions that carry a state and answer with a `Selection`."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.regime import Weighting

State = Any  # a pytree of arrays, saved with the training state

# What a selection reads: a pass over the training set, a pass over the validation set, and the
# norms of the training examples' gradients in all parameters.
Need = Literal["train", "validation", "gradient_norms"]


class Task(NamedTuple):
    """What is known before training: the selection problem's size and labels (host data)."""

    labels: Int[np.ndarray, "n"]
    num_classes: int
    budget: int
    validation_labels: Int[np.ndarray, "m"] | None = None


class Pass(NamedTuple):
    """One forward pass over a split: evaluation mode, no augmentation, data-set order."""

    logits: Float[Array, "n C"]
    features: Float[Array, "n E"]  # what enters the last layer
    labels: Int[Array, "n"]

    @property
    def gradients(self) -> LastLayerGradients:
        """The last-layer gradients of the cross-entropy."""
        return last_layer_gradients(self.logits, self.features, self.labels)


class Rows(NamedTuple):
    """The part of the data that a selection looks at: rows of each split."""

    train: Int[np.ndarray, "p"]
    validation: Int[np.ndarray, "q"] | None = None


class Snapshot(NamedTuple):
    """The model at selection time, as far as the strategy `needs` it; None elsewhere."""

    train: Pass | None = None
    validation: Pass | None = None
    gradient_norms: Float[Array, "n"] | None = None  # ‖dl_i/dtheta‖, all parameters
    rows: Rows | None = None  # what the passes are over; None: everything


class Seen(NamedTuple):
    """What an epoch of SGD saw: its examples in the order it took them, before each step.

    Host data: m changes from epoch to epoch, and a jitted function would compile for each.
    """

    indices: Int[np.ndarray, "m"]
    recorded: Mapping[str, np.ndarray]  # what the strategy's `record` gave of each, m rows each


Recorded = Mapping[str, Array]


def record_nothing(
    logits: Float[Array, "b C"], features: Float[Array, "b E"], labels: Int[Array, "b"]
) -> Recorded:
    """Remember nothing of a mini-batch."""
    del logits, features, labels
    return {}


def _ignore(state: State, seen: Seen) -> State:
    del seen
    return state


def _everything(state: State, key: PRNGKeyArray) -> Rows | None:
    del state, key
    return None


class Strategy(NamedTuple):
    """A way to choose the subset: `init` a state, `select` from it, `observe` training.

    init: key -> state.
    select: (state, snapshot, key) -> (selection, state). Pure: the same arguments give the same
      answer.
    needs: what `snapshot` must hold.
    record: (logits, features, labels) -> arrays of b rows, a dictionary by name: what to remember
      of each example of a mini-batch, in training mode, before its step. It runs inside the jitted
      step. A function of the module, not made anew: each new one compiles.
    observe: (state, seen) -> state, after every epoch, with what `record` gave.
    weighting: how SGD scales the weights. "selection" brings them to mean 1 once a selection.
      "batch" does so in each mini-batch, where a few weights hold nearly all of the sum and one
      step would be many times as long as the rest (CRAIG's cluster sizes). "none" leaves them,
      where they carry the scale of the gradient (InfoBatch).
    rows: (state, key) -> the rows that the next selection looks at, None for all of them.
    repeats: an example may be selected more than once.
    signed: weights may be negative.
    """

    init: Callable[[PRNGKeyArray], State]
    select: Callable[[State, Snapshot, PRNGKeyArray], tuple[Selection, State]]
    needs: tuple[Need, ...] = ()
    record: Callable[..., Recorded] = record_nothing
    observe: Callable[[State, Seen], State] = _ignore
    weighting: Weighting = "selection"
    rows: Callable[[State, PRNGKeyArray], Rows | None] = _everything
    repeats: bool = False
    signed: bool = False


def stateless(key: PRNGKeyArray) -> State:
    """The state of a strategy that carries nothing on."""
    del key
    return {}
