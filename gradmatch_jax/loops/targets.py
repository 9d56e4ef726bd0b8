"""What a loop's labels are to a selection: what the loss takes, and the groups it is made in."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, as_array
from gradmatch_jax.inputs.labels import as_labels, as_num_classes
from gradmatch_jax.inputs.values import as_count, as_plain
from gradmatch_jax.losses import Loss, check_loss


class Targets(NamedTuple):
    """Labels of n examples.

    values: as the loss takes them.
    groups: 0..classes-1, the problem each example belongs to.
    labelled: whether a group is a class with its own output.
    """

    values: Shaped[np.ndarray, "n ..."]
    groups: Int[np.ndarray, "n"]
    classes: int
    labelled: bool


def targets_of(
    labels: ArrayLike, loss: Loss | str, groups: Any = None, num_classes: int | None = None
) -> Targets:
    """The labels and groups of a training set.

    Args:
        labels: (n,) classes for the softmax, whatever the loss takes for others.
        loss: see `last_layer_gradients`.
        groups: None makes one problem a class for the softmax, and one of all examples for other
          losses. A number q makes q groups of equal size by the quantiles of the labels, an array
          (n,) names each example's group.
        num_classes: C, where the last classes may be absent.

    Raises:
        UserError: labels or groups that cannot be.

    Example:
        >>> targets_of([0.1, 0.2, 0.7, 0.9], "mse", groups=2).groups.tolist()
        [0, 0, 1, 1]
    """
    check_loss(loss, 0.0)
    num_classes = None if num_classes is None else as_num_classes(num_classes)
    softmax = loss is None or loss == "softmax"
    if softmax:
        values = np.asarray(as_labels(labels, None, num_classes))
    else:
        values = np.asarray(as_array("labels", labels))
    n = len(values) if values.ndim else 0
    if n == 0:
        raise UserError("labels are empty; pass one an example of the training set")
    if groups is None and softmax:
        count = int(values.max()) + 1 if num_classes is None else num_classes
        return Targets(values, values, count, True)
    if groups is None:
        return Targets(values, np.zeros(n, np.int32), 1, False)
    if np.ndim(as_plain(groups)) == 0:
        count = as_count("groups", groups, least=1)
        return Targets(values, _by_quantile(values, values, count), count, False)
    named = np.asarray(as_labels(groups, n, name="groups"))
    return Targets(values, named, int(named.max()) + 1, False)


def validation_targets(
    labels: ArrayLike, train: Targets, loss: Loss | str, groups: Any = None
) -> Targets:
    """The same of a validation set, in the training set's groups.

    Raises:
        UserError: labels that cannot be; groups that were named one by one.
    """
    values = targets_of(labels, loss, num_classes=train.classes if train.labelled else None).values
    if train.labelled:
        return Targets(values, values, train.classes, True)
    if groups is None:
        return Targets(values, np.zeros(len(values), np.int32), 1, False)
    if np.ndim(as_plain(groups)) > 0:
        raise UserError("a validation set has no groups named one by one; pass groups=10, say")
    return train._replace(
        values=values, groups=_by_quantile(values, train.values, as_count("groups", groups))
    )


def _by_quantile(
    values: Shaped[np.ndarray, "m ..."], among: Shaped[np.ndarray, "n ..."], count: int
) -> Int[np.ndarray, "m"]:
    """The quantile that each value falls in, of `among`."""
    if among.size != len(among):
        raise UserError(
            f"labels have shape {among.shape} and no one order; pass each example's group as an "
            "array (n,), or leave groups out"
        )
    inner = np.quantile(among.ravel().astype(np.float64), np.arange(1, count) / count)
    return np.searchsorted(inner, values.ravel().astype(np.float64), "right").astype(np.int32)
