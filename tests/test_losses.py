"""Losses by name against `jax.grad` of what optax and PyTorch mean by them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradmatch_jax import last_layer_gradients
from gradmatch_jax.errors import UserError

N, C, E = 7, 3, 4
RNG = np.random.default_rng(0)
LOGITS, FEATURES = (RNG.normal(size=(N, w)).astype(np.float32) for w in (C, E))
CLASSES = RNG.integers(0, C, N)
NUMBERS = RNG.normal(size=(N, C)).astype(np.float32)
SHARES = RNG.uniform(size=(N, C)).astype(np.float32)


def softmax(smoothing):
    def loss(z, y):
        onehot = optax.smooth_labels(jax.nn.one_hot(y, C), smoothing)
        return optax.softmax_cross_entropy(z, onehot)

    return loss


def mse(z, y):
    return jnp.mean((z - y) ** 2)


def sigmoid(smoothing):
    def loss(z, y):
        return jnp.mean(optax.sigmoid_binary_cross_entropy(z, (1 - smoothing) * y + smoothing / 2))

    return loss


@pytest.mark.parametrize(
    ("name", "labels", "smoothing", "definition"),
    [
        ("softmax", CLASSES, 0.0, softmax(0.0)),
        ("softmax", CLASSES, 0.1, softmax(0.1)),
        ("mse", NUMBERS, 0.0, mse),
        ("sigmoid", SHARES, 0.0, sigmoid(0.0)),
        ("sigmoid", SHARES, 0.2, sigmoid(0.2)),
    ],
)
def test_residuals_are_the_gradient(name, labels, smoothing, definition):
    found = last_layer_gradients(LOGITS, FEATURES, labels, name, label_smoothing=smoothing)
    expected = jax.vmap(jax.grad(definition))(LOGITS, labels)
    np.testing.assert_allclose(found.residuals, expected, atol=1e-6)
    by_function = last_layer_gradients(LOGITS, FEATURES, labels, definition)
    np.testing.assert_allclose(by_function.residuals, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["mse", "sigmoid", "softmax"])
def test_pytorch_means_the_same(name):
    torch = pytest.importorskip("torch")
    z = torch.tensor(LOGITS, requires_grad=True)
    functional = torch.nn.functional
    if name == "mse":
        labels, loss = NUMBERS, functional.mse_loss(z, torch.tensor(NUMBERS))
    elif name == "sigmoid":
        labels = SHARES
        loss = functional.binary_cross_entropy_with_logits(z, torch.tensor(SHARES))
    else:
        labels = CLASSES
        loss = functional.cross_entropy(z, torch.tensor(CLASSES), label_smoothing=0.1)
    loss.backward()
    smoothing = 0.1 if name == "softmax" else 0.0
    found = last_layer_gradients(LOGITS, FEATURES, labels, name, label_smoothing=smoothing)
    np.testing.assert_allclose(found.residuals / N, z.grad.numpy(), atol=1e-6)


def test_a_single_output_takes_flat_labels():
    flat = last_layer_gradients(LOGITS[:, :1], FEATURES, NUMBERS[:, 0], "mse")
    column = last_layer_gradients(LOGITS[:, :1], FEATURES, NUMBERS[:, :1], "mse")
    np.testing.assert_array_equal(flat.residuals, column.residuals)


@pytest.mark.parametrize(
    ("loss", "labels", "smoothing", "message"),
    [
        ("mae", NUMBERS, 0.0, "there are softmax, mse, sigmoid"),
        ("mse", CLASSES, 0.0, "a number for each output"),
        ("sigmoid", 2 + SHARES, 0.0, r"\[0, 1\]"),
        ("mse", NUMBERS, 0.1, "label_smoothing is for"),
        ("softmax", CLASSES, 1.5, "from 0 to 1"),
        ("mse", np.full((N, C), np.nan), 0.0, "nan"),
    ],
)
def test_what_cannot_be(loss, labels, smoothing, message):
    with pytest.raises(UserError, match=message):
        last_layer_gradients(LOGITS, FEATURES, labels, loss, label_smoothing=smoothing)
