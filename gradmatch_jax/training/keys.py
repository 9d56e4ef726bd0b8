"""Which randomness is whose: keys of a seed, by epoch, so that a run resumes without a state of it.

A selection in a loop of one's own draws as one in `train` does, seed for seed.
"""

import jax
from jaxtyping import PRNGKeyArray


def first_keys(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Of the network's start and of the strategy's."""
    network, strategy = jax.random.split(jax.random.fold_in(key, 2**31))
    return network, strategy


def epoch_keys(key: PRNGKeyArray, epoch: int) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Of the selection before an epoch, and of the epoch's own order and augmentation."""
    select, train = jax.random.split(jax.random.fold_in(key, epoch))
    return select, train
