"""A toy data set and a model in plain JAX, for what needs no real ones."""

import os
import threading
import time

import jax
import numpy as np
import pytest

from gradmatch_jax.data import Dataset, ImagePrepare, Split
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train

# What takes minutes of a core, or is much like what runs anyway: thorough, and of those `.ci/run`
# has a share, another with each commit, `.ci/more` all (conftest.py).
LONG = pytest.mark.long
WHOLE = os.environ.get("GRADMATCH_LONG") == "1"


def mostly_long(values, *kept):
    """Parameters of a test, all but those `kept` of the long ones."""
    return [pytest.param(value, marks=() if value in kept else LONG) for value in values]


def spoiled(array, row, column, value=np.nan):
    """A copy with one other number; of NumPy, as JAX makes no nan where that is an error."""
    copy = np.array(array)
    copy[row, column] = value
    return copy


def key_list(seed, count):
    """As many keys, one by one: iterating over `split` compiles a program for each count."""
    return [jax.random.fold_in(jax.random.key(seed), i) for i in range(count)]


def toy_dataset():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90, dtype=np.int32)
    images = rng.integers(0, 60, (90, 4, 4, 1), dtype=np.uint8)
    images[np.arange(90), labels] += 150
    part = Split(images, labels)
    train_part, rest = part.subset(np.arange(60)), part.subset(np.arange(60, 90))
    prepare = ImagePrepare((0.5,), (0.25,))
    return Dataset("toy", train_part, rest, rest, 3, prepare, ("a", "b", "c"))


def linear():
    def init(key):
        return Variables({"W": 0.1 * jax.random.normal(key, (16, 3))}, {})

    def apply(variables, images, train):
        x = images.reshape(images.shape[0], -1)
        return x @ variables.params["W"], x, variables.stats

    return Model("linear", init, apply)


def toy(out=None, *, dataset=None, on_note=lambda text: None, **settings):
    settings = {"strategy": "adaptive-random", "fraction": 0.2, "epochs": 5} | settings
    config = TrainConfig(batch_size=5, lr=settings.pop("lr", 0.05), **settings)
    dataset = dataset or toy_dataset()
    return train(config, out, dataset=dataset, model=linear(), on_note=on_note)


def needs_grain():
    """Skip a test that reads streams ahead, where there is nothing to read them with."""
    pytest.importorskip("grain", reason="the grain extra is not installed")


class Stream:
    """Inputs made on demand; `taken` are the rows that were."""

    def __init__(self, inputs):
        self.inputs, self.shape, self.dtype = inputs, inputs.shape[1:], inputs.dtype
        self.taken = []

    def __len__(self):
        return len(self.inputs)

    def take(self, indices):
        self.taken += np.asarray(indices).tolist()
        return self.inputs[indices]


def as_streams(data):
    """A data set of arrays, as streams."""
    splits = (data.train, data.validation, data.test)
    parts = [Split(Stream(part.inputs), part.labels) for part in splits]
    return Dataset(
        data.name, *parts, data.num_classes, data.prepare, data.class_names, data.vocabulary
    )


def until(holds, seconds=20.0):
    """Whether it holds, at the latest then."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def reading_threads():
    """The threads of grain's pools that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]
