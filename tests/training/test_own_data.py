"""Data sets and models of the user's own that cannot be: one line that names them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data import Dataset, Split
from gradmatch_jax.errors import UserError
from gradmatch_jax.models.model import Model
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from toys import linear, toy_dataset

CONFIG = TrainConfig(strategy="random", fraction=0.2, epochs=1, batch_size=5)


def refused(dataset=None, model=None):
    with pytest.raises(UserError) as error:
        train(CONFIG, dataset=dataset or toy_dataset(), model=model or linear())
    message = str(error.value)
    assert "\n" not in message
    assert "--lr" not in message
    return message


def with_train(**changes):
    data = toy_dataset()
    return dataclasses.replace(data, train=dataclasses.replace(data.train, **changes))


def test_labels_beyond_the_classes():
    assert "outside 0..2" in refused(with_train(labels=toy_dataset().train.labels + 1))


def test_not_finite():
    x = np.full((60, 5), np.nan, np.float32)
    assert "60 of 60 rows hold nan" in refused(with_train(inputs=x))


def test_empty():
    data = toy_dataset()
    nothing = Split(data.train.inputs[:0], data.train.labels[:0])
    assert "toy test" in refused(dataclasses.replace(data, test=nothing))


def test_channels_first():
    x, y = np.zeros((60, 3, 8, 8), np.uint8), np.arange(60) % 3
    with pytest.raises(UserError, match="channels first"):
        Dataset.from_arrays("mine", x, y, x, y)


def own(apply):
    return Model("mine", linear().init, apply)


MODELS = [
    (lambda v, x, train: x.reshape(len(x), -1) @ v.params["W"], "must return"),
    (lambda v, x, train: (x.reshape(len(x), -1) @ v.params["W"],) * 2, "must return"),
    (lambda v, x, train: (jnp.zeros((len(x), 7)), jnp.zeros((len(x), 2)), {}), "7 wide"),
    (lambda v, x, train: (jnp.zeros((len(x), 3)), jnp.zeros(len(x)), {}), "features must be"),
    (lambda v, x, train: (jnp.zeros((len(x), 3), int), jnp.zeros((len(x), 2)), {}), "floating"),
    (lambda v, x, train: (x @ v.params["W"], x, {}), "cannot be applied"),
    (lambda v, x, train: (v.params["V"], x, {}), "cannot be applied"),
]


@pytest.mark.parametrize(("apply", "message"), MODELS)
def test_models(apply, message):
    found = refused(model=own(apply))
    assert "model mine" in found
    assert message in found


@pytest.mark.thorough
def test_the_model_suits_the_data_that_are_handed_over():
    """Not the data set that the configuration names and nobody reads."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    words = rng.integers(1, 9, (120, 6)) + 10 * y[:, None]
    texts = Dataset.from_arrays("texts", words[:90], y[:90], words[90:], y[90:])
    assert train(CONFIG, dataset=texts).summary["model"] == "embedding-bag"
    rows = Dataset.from_arrays("rows", words[:90] / 9, y[:90], words[90:] / 9, y[90:])
    assert train(CONFIG, dataset=rows).summary["model"] == "mlp"
