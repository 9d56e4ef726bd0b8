"""A linear classifier of 23 images of 4x4: small enough to follow its steps in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.data import Dataset, ImagePrepare, Split
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.strategies.records import correctness, cross_entropies, residual_norms
from gradmatch_jax.training.steps import make_steps

N, CLASSES, SIDE = 23, 3, 4


def init(key):
    weights = 0.1 * jax.random.normal(key, (SIDE * SIDE, CLASSES))
    return Variables({"W": weights, "b": jnp.zeros(CLASSES)}, stats={"seen": jnp.zeros(())})


def apply(variables, images, train):
    x = images.reshape(images.shape[0], -1)
    seen = variables.stats["seen"] + (images.shape[0] if train else 0)
    logits = x @ variables.params["W"] + variables.params["b"][None]
    return logits, x, {"seen": seen}


def split(n, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, SIDE, SIDE, 1), dtype=np.uint8)
    return Split(images, rng.integers(0, CLASSES, n, dtype=np.int32))


def linear_data():
    train, test = split(N, 0), split(11, 1)
    prepare = ImagePrepare((0.5,), (0.25,), crop_padding=1, flip=True)
    return Dataset("toy", train, test, test, CLASSES, prepare, ("a", "b", "c"))


def linear_steps(data, *, momentum=0.9, weight_decay=5e-4, augmented=False, optimizer="sgd"):
    model = Model("linear", init, apply)
    return make_steps(
        model,
        data,
        momentum=momentum,
        optimizer=optimizer,
        weight_decay=weight_decay,
        augmented=augmented,
        record=record,
    )


def record(logits, features, labels):
    """All that the strategies record."""
    given = logits, features, labels
    return {**cross_entropies(*given), **correctness(*given), **residual_norms(*given)}


def inputs(images):
    return ((images.reshape(len(images), -1) / 255.0) - 0.5) / 0.25
