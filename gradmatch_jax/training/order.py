"""What an epoch takes in which order, and the weight that each has in its mini-batch."""

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from gradmatch_jax.training.schedule import Batching


def in_order(
    key: PRNGKeyArray,
    indices: Int[np.ndarray, "k"],
    weights: Float[np.ndarray, "k"],
    batch_size: int,
    batching: Batching,
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m"], PRNGKeyArray]:
    """The epoch's rows and weights in its order, and the key of its steps."""
    numbers, step_key = _apart(key)
    order = np.arange(len(indices))
    if not batching.ordered:  # on the host: jax.random.permutation compiles anew for every size
        order = np.random.default_rng(np.asarray(numbers)).permutation(order)
    if batching.whole and len(indices) > batch_size:
        order = order[: len(indices) // batch_size * batch_size]
    indices, weights = indices[order].astype(np.int32), weights[order].astype(np.float32)
    if batching.weights == "batch":
        weights = relative(weights, batch_size)
    return indices, weights, step_key


@jax.jit
def _apart(key: PRNGKeyArray) -> tuple[UInt32[Array, "_"], PRNGKeyArray]:
    """The numbers that an order is drawn from, and the key of the steps."""
    order, steps = jax.random.split(key)
    return jax.random.key_data(order), steps


def relative(weights: Float[np.ndarray, "k"], batch_size: int) -> Float[np.ndarray, "k"]:
    """Weights of mean 1 in each batch; a batch of zeros stays one."""
    starts = np.arange(0, len(weights), batch_size)
    sums = np.repeat(np.add.reduceat(weights, starts), batch_size)[: len(weights)]
    sizes = np.repeat(np.diff(np.append(starts, len(weights))), batch_size)[: len(weights)]
    return (weights * sizes / np.where(sums > 0, sums, 1.0)).astype(np.float32)
