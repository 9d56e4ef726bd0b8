"""InfoBatch: unbiased pruning of what is learnt already (Qin et al., ICLR 2024).

Source: "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning", section 2.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gradmatch_jax.selection.result import NO_ERROR, Selection, compact
from gradmatch_jax.strategies.records import cross_entropies
from gradmatch_jax.strategies.strategy import Seen, Strategy, Task

PRUNE = 0.5  # the paper's r


def infobatch(task: Task, *, ratio: float = PRUNE) -> Strategy:
    """Each epoch drops a share `ratio` of the examples whose last observed loss is below the mean.

    The state is the last loss that was observed of each example, infinite before the first: the
    first epoch has all examples. The weights keep the gradient's scale and are not rescaled.
    """
    n = len(task.labels)

    def init(key):
        del key
        return {"losses": jnp.full(n, jnp.inf, jnp.float32)}

    def select(state, snapshot, key):
        del snapshot
        return prune(state["losses"], key, ratio), state

    def observe(state, epoch: Seen):
        losses = np.array(state["losses"])
        losses[epoch.indices] = epoch.recorded["losses"]
        return {"losses": jnp.asarray(losses)}

    return Strategy(init, select, record=cross_entropies, observe=observe, weighting="none")


def prune(losses: Float[Array, "n"], key: PRNGKeyArray, ratio: float = PRUNE) -> Selection:
    """Drop an example whose loss is below the mean with probability r = `ratio`.

    Those below the mean that stay weigh 1/(1 - r), all others 1, so that sum_i w_i g_i over the
    selection has the expectation sum_i g_i. n entries, the kept ones first, -1 and 0 behind.
    The mean is over the finite losses; an example without one always stays.
    """
    indices, weights, size = _kept(losses, key, ratio)
    return Selection(indices, weights, size, size, NO_ERROR)


@partial(jax.jit, static_argnames="ratio")
def _kept(losses, key, ratio: float):
    n = losses.shape[0]
    known = jnp.isfinite(losses)
    count = jnp.maximum(jnp.sum(known), 1).astype(losses.dtype)
    mean = jnp.sum(losses, where=known) / count
    # Where all are equal the mean may be rounded to above them; the largest is never below it.
    largest = jnp.max(losses, where=known, initial=-jnp.inf)
    low = known & (losses < jnp.minimum(mean, largest))
    keep = ~(low & (jax.random.uniform(key, (n,)) < ratio))
    indices = jnp.where(keep, jnp.arange(n, dtype=jnp.int32), -1)
    weights = jnp.where(low, 1 / (1 - ratio), 1.0)
    size = jnp.sum(keep)
    return *compact(indices, weights, n), size
