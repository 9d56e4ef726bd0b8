"""Label noise: the share of each class that it says, in the training labels alone."""

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.noise import mislabelled
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import TrainConfig, resolve


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", validation_fraction=0.1, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.45])
def test_a_share_of_each_class_becomes_the_next(digits, share):
    noisy = mislabelled(digits, share, seed=3)
    before, after = digits.train.labels, noisy.train.labels
    changed = before != after
    assert np.all(after[changed] == (before[changed] + 1) % 10)
    counts = np.bincount(before)
    assert np.bincount(before[changed], minlength=10).tolist() == [round(share * c) for c in counts]
    assert np.array_equal(noisy.train.inputs, digits.train.inputs)
    assert np.array_equal(noisy.train.rows, digits.train.rows)
    for name in ("validation", "test"):
        assert np.array_equal(getattr(noisy, name).labels, getattr(digits, name).labels)
    assert before is digits.train.labels, "the clean set is left as it was"
    other = mislabelled(digits, share, seed=4).train.labels
    assert np.array_equal(other, after) == (share == 0)


@pytest.mark.parametrize("share", [1, 1.5, -0.1, float("nan"), "a lot"])
def test_what_is_no_share(digits, share):
    with pytest.raises(UserError, match="share must be"):
        mislabelled(digits, share)


def test_a_run_trains_on_them(digits):
    """The configuration's share reaches the data, after the classes were cut."""
    config = resolve(TrainConfig(label_noise=0.3, imbalance=0.5, seed=5))
    clean = load(resolve(TrainConfig(imbalance=0.5, seed=5))).train
    noisy = load(config).train
    assert np.array_equal(noisy.rows, clean.rows)
    assert np.mean(noisy.labels != clean.labels) == pytest.approx(0.3, abs=0.01)
    assert "label_noise" in config.to_json()
