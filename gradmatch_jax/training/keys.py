"""Which randomness is whose: keys of a seed, by epoch, so that a run resumes without a state of it.

A selection in a loop of one's own draws as one in `train` does, seed for seed.
"""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, UInt32

from gradmatch_jax.inputs.arrays import AnyArray


@jax.jit  # one call in place of three, an epoch
def _two(key: PRNGKeyArray, number: UInt32[AnyArray, ""]) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    first, second = jax.random.split(jax.random.fold_in(key, number))
    return first, second


def first_keys(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Of the network's start and of the strategy's."""
    return _two(key, np.uint32(2**31))


def epoch_keys(key: PRNGKeyArray, epoch: int) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Of the selection before an epoch, and of the epoch's own order and augmentation."""
    return _two(key, np.uint32(epoch))
