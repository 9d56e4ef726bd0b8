"""What an epoch trains on: a pure function of the plan's epoch and the selection."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.training.schedule import Epoch


class Examples(NamedTuple):
    """Rows of the training set, and the weight w_i of each in the loss."""

    indices: Int[np.ndarray, "k"]
    weights: Float[np.ndarray, "k"]


def examples_of(epoch: Epoch, selection: Selection, n: int) -> Examples:
    """All n examples with weight 1, or the selected ones with theirs.

    The weights of a selection are brought to mean 1, unless they carry the gradient's scale
    (`Batching.weights` is "none") or sum to nothing. Where they are brought to mean 1 in each
    mini-batch, `run_epoch` does that on top.

    Raises:
        UserError: the selection is empty.
    """
    if epoch.full:
        return Examples(np.arange(n, dtype=np.int32), np.ones(n, np.float32))
    size = int(selection.size)
    if size == 0:
        raise UserError("the selection is empty: use --fill random or a smaller --lam")
    indices = np.asarray(selection.indices)[:size]
    weights = np.asarray(selection.weights)[:size]
    mean = float(weights.mean())
    if epoch.batching.weights == "none" or mean <= 0:
        return Examples(indices, weights)
    return Examples(indices, weights / mean)
