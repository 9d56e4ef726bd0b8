"""Losses by name, as a selection needs them: dl/dz of each example, in closed form.

The last layer's gradient is dl/dz ⊗ [1, h] whatever the loss, so a loss is known here by its
residuals alone:

| name | l(z, y) | dl/dz | labels |
| --- | --- | --- | --- |
| softmax | -sum_c q_c log softmax(z)_c | softmax(z) - q | classes (n,) |
| mse | mean_c (z_c - y_c)² | 2 (z - y) / C | numbers (n,) or (n, C) |
| sigmoid | mean_c of the binary cross-entropies | (sigmoid(z) - y) / C | in [0, 1], (n, C) |

The means over outputs are those of PyTorch's `MSELoss` and `BCEWithLogitsLoss`. With label
smoothing s, q = (1 - s) onehot(y) + s/C, and y becomes (1 - s) y + s/2 in the sigmoid's.
"""

from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import AnyArray, ArrayLike, Number, as_floats
from gradmatch_jax.inputs.labels import as_labels, labels_of_loss
from gradmatch_jax.inputs.values import LossName, Range, as_number, check_literal

LossFunction = Callable[[Float[Array, "C"], AnyArray], Float[Array, ""]]
Loss = LossName | LossFunction | None


def check_loss(loss: Any, label_smoothing: Any) -> float:
    """The amount of label smoothing of a loss that has it; 0 of others.

    Raises:
        UserError: no such loss, smoothing outside [0, 1), or of a loss without.
    """
    if loss is not None and not callable(loss):
        check_literal("loss", loss, get_args(LossName))
    smoothing = as_number("label_smoothing", label_smoothing, Range(0, 1), static=True)
    if smoothing and (callable(loss) or loss == "mse"):
        raise UserError("label_smoothing is for loss='softmax' or 'sigmoid'; leave it out")
    return smoothing


def residuals_of(
    loss: Loss | str, logits: Float[Array, "n C"], labels: ArrayLike, label_smoothing: Number = 0.0
) -> Float[Array, "n C"]:
    """dl/dz of each example.

    Args:
        loss: a name of the table above, None for softmax, or a function of one example's
          (logits, label), which is differentiated.
        logits: checked.
        labels: n, of whatever the loss takes.
        label_smoothing: s.

    Raises:
        UserError: labels that the loss does not take.
    """
    smoothing = check_loss(loss, label_smoothing)
    if callable(loss):
        return jax.vmap(jax.grad(loss))(logits, labels_of_loss(loss, labels, len(logits)))
    if loss == "mse":
        width = jnp.asarray(logits.shape[1], logits.dtype)
        return 2 * (logits - _targets(logits, labels)) / width
    if loss == "sigmoid":
        targets = _targets(logits, labels)
        _check_shares(targets)
        targets = (1 - smoothing) * targets + smoothing / 2
        return (jax.nn.sigmoid(logits) - targets) / jnp.asarray(logits.shape[1], logits.dtype)
    n, classes = logits.shape
    numbers = jnp.asarray(as_labels(labels, n, classes))
    onehot = jax.nn.one_hot(numbers, classes, dtype=logits.dtype)
    if smoothing:
        onehot = (1 - smoothing) * onehot + smoothing / classes
    return jax.nn.softmax(logits) - onehot


def _targets(logits: Float[Array, "n C"], labels: ArrayLike) -> Float[Array, "n C"]:
    """Labels as numbers of the logits' shape; a single output's may come flat."""
    targets = as_floats("labels", labels)
    if targets.ndim == 1 and logits.shape[1] == 1:
        targets = targets[:, None]
    if targets.shape != logits.shape:
        raise UserError(
            f"labels have shape {targets.shape} and the outputs {logits.shape}; this loss wants a "
            "number for each output"
        )
    return targets.astype(logits.dtype)


def _check_shares(targets: Float[Array, "n C"]) -> None:
    if isinstance(targets, Tracer) or not targets.size:
        return
    if float(jnp.min(targets)) < 0 or float(jnp.max(targets)) > 1:
        raise UserError("labels of loss='sigmoid' must lie in [0, 1], one for each output")
