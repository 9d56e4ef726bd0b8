"""Label noise made on purpose: where a clean validation set is worth something."""

import dataclasses
from typing import Any

import numpy as np

from gradmatch_jax.data.dataset import Dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import BELOW_ONE, as_number


def mislabelled(dataset: Dataset, share: Any, *, seed: int = 0) -> Dataset:
    """`dataset` with a share of each class's training labels turned into the next class's.

    Pairwise noise (Han et al. 2018, "Co-teaching", whose settings are 0.2 and 0.45): class c
    becomes c + 1, the last one the first. Which examples is drawn by `seed`; validation and test
    stay as they are: clean.

    Raises:
        UserError: a share outside [0, 1); fewer than two classes.
    """
    share = as_number("share", share, BELOW_ONE, static=True)
    if dataset.num_classes < 2:
        raise UserError("label noise needs two classes or more")
    rng = np.random.default_rng((seed, 2))  # apart from the draws of the split and the imbalance
    clean = dataset.train.labels
    labels = clean.copy()
    for label in np.unique(clean):
        rows = rng.permutation(np.flatnonzero(clean == label))
        labels[rows[: round(share * len(rows))]] = (label + 1) % dataset.num_classes
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, labels=labels))
