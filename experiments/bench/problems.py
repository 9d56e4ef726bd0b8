"""What the benchmarks solve: Gaussian atoms, or a class's own gradients from a file."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients

Rows = tuple[LastLayerGradients, Int[np.ndarray, " n"]]


def gaussian(n: int, d: int, seed: int) -> Float[np.ndarray, "n d"]:
    """Independent standard normal atoms."""
    return np.random.default_rng(seed).standard_normal((n, d))


def class_gradients(npz: Path, label: int, n: int) -> Rows:
    """Last-layer gradients of the first n examples of a class, and their labels.

    Args:
        npz: logits (n, C), features (n, E), labels (n,); `experiments.bench.cifar10_selection`
            caches such a file.
        label: the class.
        n: at most so many.
    """
    with np.load(npz) as file:
        rows = np.flatnonzero(file["labels"] == label)[:n]
        logits, features, labels = (file[k][rows] for k in ("logits", "features", "labels"))
    logits, features = jnp.asarray(logits, jnp.float32), jnp.asarray(features, jnp.float32)
    return last_layer_gradients(logits, features, jnp.asarray(labels)), labels
