"""What a strategy is told: the task, the network at selection time, what an epoch saw."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients
from gradmatch_jax.inputs.arrays import as_rows, is_half, is_split, widened
from gradmatch_jax.inputs.labels import as_labels
from gradmatch_jax.losses import residuals_of


class Task(NamedTuple):
    """What is known before training: the selection problem's size and labels (host data).

    classes: whether a label is a class with its own column of logits; else it is only a group.
    """

    labels: Int[np.ndarray, "n"]
    num_classes: int
    budget: int
    validation_labels: Int[np.ndarray, "m"] | None = None
    classes: bool = True


def pass_gradients(
    logits: Float[Array, "n C"], features: Float[Array, "n E"], labels: Int[Array, "n"]
) -> LastLayerGradients:
    """`last_layer_gradients` of the cross-entropy, kept in what a pass over the data is kept in.

    Those of a pass in half precision are computed in float32 and rounded once: they take half the
    memory as well, and whoever reads them widens what it comes to. Those of a pass that is split
    over several devices are split as it is, in one program: nothing of n rows is on any of them.
    """
    half = is_half(logits.dtype) and is_half(features.dtype)
    if not (half or is_split(logits)):
        return last_layer_gradients(logits, features, labels)
    logits, features = as_rows("logits and features", logits, features, bias=True, stored=True)
    numbers = jnp.asarray(as_labels(labels, logits.shape[0], logits.shape[1]))
    return LastLayerGradients(_residuals(logits, numbers), features)


@jax.jit
def _residuals(logits: Float[Array, "n C"], labels: Int[Array, "n"]):
    return residuals_of("softmax", widened(logits), labels).astype(logits.dtype)


class Pass(NamedTuple):
    """One forward pass over a split: evaluation mode, no augmentation, data-set order.

    Its logits and features are in what the run keeps them in, `TrainConfig.pass_dtype`. On several
    devices they are split over them: JAX's functions take them as they are, and so does
    `np.asarray` in a run of one process.
    """

    logits: Float[Array, "n C"]
    features: Float[Array, "n E"]  # what enters the last layer
    labels: Int[Array, "n"]

    @property
    def gradients(self) -> LastLayerGradients:
        """The last-layer gradients of the cross-entropy, in half precision where the pass is."""
        return pass_gradients(self.logits, self.features, self.labels)


@jax.tree_util.register_pytree_node_class
class LossPass(Pass):
    """A pass of any loss, whose gradients are known; it unpacks as a `Pass` does."""

    residuals: Float[Array, "n C"]  # dl/dz

    def __new__(cls, logits, features, labels, residuals):
        """The three of a `Pass`, and the residuals."""
        made = super().__new__(cls, logits, features, labels)
        made.residuals = residuals
        return made

    @property
    def gradients(self) -> LastLayerGradients:
        """The last-layer gradients of the loss."""
        return LastLayerGradients(self.residuals, self.features)

    def tree_flatten(self):
        """Four arrays."""
        return (*self, self.residuals), None

    @classmethod
    def tree_unflatten(cls, _, children):
        """Of four arrays."""
        return cls(*children)


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
