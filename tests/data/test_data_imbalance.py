"""Class imbalance: which classes, how many are kept, and what stays as it is."""

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.imbalance import imbalanced
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import TrainConfig, resolve


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.mark.parametrize("keep", [0.1, 0.5])
def test_three_of_ten_classes_keep_their_share(digits, keep):
    cut = imbalanced(digits, keep, seed=3)
    before = np.bincount(digits.train.labels, minlength=10)
    after = np.bincount(cut.train.labels, minlength=10)
    smaller = after < before
    assert smaller.sum() == 3
    np.testing.assert_array_equal(after[smaller], np.round(keep * before[smaller]))
    assert cut.validation is digits.validation
    assert cut.test is digits.test
    rows = {image.tobytes() for image in digits.train.inputs}
    assert all(image.tobytes() in rows for image in cut.train.inputs)


def test_the_seed_draws_classes_and_examples(digits):
    def classes(seed):
        counts = np.bincount(imbalanced(digits, 0.5, seed=seed).train.labels, minlength=10)
        return tuple(np.flatnonzero(counts < np.bincount(digits.train.labels)))

    assert len({classes(seed) for seed in range(8)}) > 4
    again, same = imbalanced(digits, 0.5, seed=1), imbalanced(digits, 0.5, seed=1)
    np.testing.assert_array_equal(again.train.inputs, same.train.inputs)


def test_limits(digits):
    assert np.all(np.bincount(imbalanced(digits, 1e-6, 1.0).train.labels) == 1), "one is kept"
    assert len(imbalanced(digits, 1.0).train) == len(digits.train)
    for keep, classes in ((0, 0.3), (1.5, 0.3), (0.5, 0), (0.5, float("nan"))):
        with pytest.raises(UserError, match="above 0 and at most 1"):
            imbalanced(digits, keep, classes)
    with pytest.raises(UserError, match="raise the share of classes"):
        imbalanced(digits, 0.5, 0.01)


def test_a_configuration_asks_for_it():
    whole, cut = (load(resolve(TrainConfig(imbalance=keep))) for keep in (1.0, 0.1))
    assert len(cut.train) < 0.8 * len(whole.train)
    assert len(cut.test) == len(whole.test)
