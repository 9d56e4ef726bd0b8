"""What a strategy is: pure functions that carry a state and answer with a `Selection`."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients
from gradmatch_jax.selection.result import Selection

State = Any  # a pytree of arrays, saved with the training state

# What a selection reads: a pass over the training set, a pass over the validation set, and the
# norms of the training examples' gradients in all parameters.
Need = Literal["train", "validation", "gradient_norms"]


Weighting = Literal["selection", "batch", "none"]


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
    lr: float = 0.01  # the run's initial learning rate: GLISTER's virtual step
    glister_refresh: float = 0.03  # picks between refreshes of GLISTER's gradient, as a share of k
    glister_greedy: str = "taylor"  # taylor, naive or stochastic


class Pass(NamedTuple):
    """One forward pass over a split: evaluation mode, no augmentation, data-set order."""

    logits: Float[Array, "n C"]
    features: Float[Array, "n E"]  # what enters the last layer
    labels: Int[Array, "n"]

    @property
    def gradients(self) -> LastLayerGradients:
        """The last-layer gradients of the cross-entropy."""
        return last_layer_gradients(self.logits, self.features, self.labels)


class Snapshot(NamedTuple):
    """The model at selection time, as far as the strategy `needs` it; None elsewhere."""

    train: Pass | None = None
    validation: Pass | None = None
    gradient_norms: Float[Array, "n"] | None = None  # ‖dl_i/dtheta‖, all parameters


class Seen(NamedTuple):
    """What an epoch of SGD saw: its examples in the order it took them, before each step.

    Host data: m changes from epoch to epoch, and a jitted function would compile for each.
    """

    indices: Int[np.ndarray, "m"]
    losses: Float[np.ndarray, "m"]  # unweighted cross-entropy, in training mode
    correct: Bool[np.ndarray, "m"]  # whether the largest logit was the label's


def _ignore(state: State, seen: Seen) -> State:
    del seen
    return state


class Strategy(NamedTuple):
    """A way to choose the subset: `init` a state, `select` from it, `observe` training.

    init: key -> state.
    select: (state, snapshot, key) -> (selection, state). Pure: the same arguments give the same
      answer.
    needs: what `snapshot` must hold.
    observe: (state, seen) -> state, after every epoch; only forgetting events and loss-based
      pruning need it.
    weighting: how SGD scales the weights. "selection" brings them to mean 1 once a selection.
      "batch" does so in each mini-batch, where a few weights hold nearly all of the sum and one
      step would be many times as long as the rest (CRAIG's cluster sizes). "none" leaves them,
      where they carry the scale of the gradient (InfoBatch).
    """

    init: Callable[[PRNGKeyArray], State]
    select: Callable[[State, Snapshot, PRNGKeyArray], tuple[Selection, State]]
    needs: tuple[Need, ...] = ()
    observe: Callable[[State, Seen], State] = _ignore
    weighting: Weighting = "selection"


def stateless(key: PRNGKeyArray) -> State:
    """The state of a strategy that carries nothing on."""
    del key
    return {}
