"""Class imbalance made on purpose: the paper's robust-learning setting (appendix A.3.2, A.3.3)."""

import dataclasses
from typing import Any

import numpy as np

from gradmatch_jax.data.dataset import Dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import SHARE, as_number


def imbalanced(dataset: Dataset, keep: Any, classes: Any = 0.3, *, seed: int = 0) -> Dataset:
    """`dataset` with only a share `keep` of the training examples of a share of the classes.

    The paper's settings cut 30 % of the classes to a tenth, its results speak of a half. Which
    classes and which of their examples is drawn by `seed`; each keeps at least one. Validation and
    test stay as they are: clean.

    Raises:
        UserError: a share outside (0, 1], or so small that no class would be cut.
    """
    keep = as_number("keep", keep, SHARE, static=True)
    classes = as_number("classes", classes, SHARE, static=True)
    count = round(classes * dataset.num_classes)
    if count == 0:
        raise UserError(
            f"{classes:g} of {dataset.num_classes} classes is none; raise the share of classes"
        )
    rng = np.random.default_rng((seed, 1))  # apart from the draw of the validation split
    labels = dataset.train.labels
    kept = np.ones(len(labels), bool)
    for label in rng.choice(dataset.num_classes, count, replace=False):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept[rows[max(1, round(keep * len(rows))) :]] = False
    return dataclasses.replace(dataset, train=dataset.train.subset(np.flatnonzero(kept)))
