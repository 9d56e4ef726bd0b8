"""Models for a quick look: one hidden layer, and none (logistic regression)."""

from __future__ import annotations

import math

import jax
from flax import nnx

from gradmatch_jax.models.layers import classify, compute_dtype, linear
from gradmatch_jax.models.model import Model, from_nnx
from gradmatch_jax.models.spec import InputSpec

HIDDEN = 128


class MLP(nnx.Module):
    """inputs, flat - 128 (ReLU) - classes; 128 features."""

    def __init__(self, n_in: int, num_classes: int, rngs: nnx.Rngs, *, dtype):
        self.hidden = linear(n_in, HIDDEN, rngs, dtype)
        self.head = linear(HIDDEN, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of floats (b, ...)."""
        return classify(self.head, jax.nn.relu(self.hidden(x.reshape(x.shape[0], -1))))


class Logistic(nnx.Module):
    """Softmax regression; the features are the inputs."""

    def __init__(self, n_in: int, num_classes: int, rngs: nnx.Rngs):
        self.head = linear(n_in, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of floats (b, ...)."""
        return classify(self.head, x.reshape(x.shape[0], -1))


def mlp(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """One hidden layer of 128 ReLU units."""
    n_in, dtype = math.prod(spec.shape), compute_dtype(bf16)
    return from_nnx("mlp", lambda rngs: MLP(n_in, num_classes, rngs, dtype=dtype))


def logistic(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """Logistic regression. It has no hidden layer, so `bf16` changes nothing."""
    del bf16
    n_in = math.prod(spec.shape)
    return from_nnx("logistic", lambda rngs: Logistic(n_in, num_classes, rngs))
