"""Class numbers and row numbers: integers on the host, in their range."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, as_array, kind_of, on_device, to_numpy
from gradmatch_jax.inputs.values import as_count, short

# Classes that may be missing between two labels, beside as many as occur: 255 marks "no label".
MISSING_CLASSES = 16
MOST_CLASSES = 2**20


def as_labels(
    labels: ArrayLike, n: int | None = None, num_classes: int | None = None, name: str = "labels"
) -> Any:
    """Class numbers 0..C-1 as int32 (n,) on the host; traced ones pass, an integer dtype given.

    Integers of any width, signed or not, and booleans of two classes. Without `num_classes` labels
    that count from 1, and those that stand far above the others (255 for "no label"), are refused
    all the same.

    Raises:
        UserError: anything else; the message says what to do.
    """
    if labels is None:
        raise UserError(f"{name} is None; pass class numbers 0..C-1, shape (n,)")
    array = labels if isinstance(labels, jax.Array) else to_numpy(name, labels)
    if array.size == 0 and isinstance(labels, Sequence):
        array = array.astype(np.int32)
    if array.dtype != np.bool_ and not jnp.issubdtype(array.dtype, np.integer):
        kind = kind_of(array.dtype)
        raise UserError(f"{name} must be integers (n,), not {kind} {array.shape}; {_cure(array)}")
    if array.ndim != 1:
        column = array.ndim == 2 and array.shape[1] == 1
        cure = f"{name}.reshape(-1)" if column else f"{name}.argmax(axis=1) if they are one-hot"
        if n is None:
            raise UserError(f"{name} must be integers (n,), not {array.shape}; pass {cure}")
        raise UserError(f"{name} have shape {array.shape}, expected ({n},); pass {cure}")
    if n is not None and len(array) != n:
        raise UserError(f"{name} have shape {array.shape}, expected ({n},): one an example")
    if isinstance(array, Tracer):
        return array.astype(jnp.int32)
    array = np.asarray(array)
    _check_range(name, array, num_classes)
    return array.astype(np.int32)


def _cure(array: Any) -> str:
    """What makes class numbers of labels that are none."""
    if isinstance(array, np.ndarray) and array.dtype.kind in "OUSMm":
        return "number the classes: numpy.unique(labels, return_inverse=True)[1]"
    if jnp.issubdtype(array.dtype, np.floating):
        whole = isinstance(array, Tracer) or np.array_equal(array, np.floor(np.asarray(array)))
        return "pass labels.astype(int)" if whole else "fractions and nan name no class"
    return "number the classes 0..C-1"


def _check_range(name: str, labels: np.ndarray, num_classes: int | None) -> None:
    if labels.size == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    top = high + 1 if num_classes is None else num_classes
    outside = int(np.sum((labels < 0) | (labels.astype(np.float64) >= top)))
    if outside:
        cure = f"subtract 1 from {name}" if low >= 1 and high == top else "number the classes so"
        cure = "drop those rows, or number the classes so" if low < 0 or high > top else cure
        wanted = (
            f"outside 0..{top - 1} (from {low} to {high})" if top > 0 else f"below 0 (from {low})"
        )
        raise UserError(f"{outside} {name} lie {wanted}; {cure}")
    if num_classes is not None:
        return
    classes = np.unique(labels).astype(np.int64)
    if low == 1 and high == len(classes) > 1:
        raise UserError(
            f"{name} are 1..{high}; classes count from 0: subtract 1, or make the groups with "
            f"partition(labels, budget, num_classes={high + 1})"
        )
    gaps = np.diff(classes, prepend=-1)
    if int(gaps.max()) > len(classes) + MISSING_CLASSES:
        raise UserError(
            f"{name} reach {high} and only {len(classes)} classes occur; drop those that mark no "
            "class, number them by numpy.unique(labels, return_inverse=True)[1], or make the "
            f"groups with partition(labels, budget, num_classes={high + 1})"
        )


def labels_of_loss(loss: object, labels: ArrayLike, n: int) -> Array:
    """n labels of a loss of one's own: of any numbers, for only the loss knows what they mean."""
    if not callable(loss):
        raise UserError(f"loss must be a function of (logits, label), not {short(loss)}")
    array = on_device(as_array("labels", labels))
    if array.ndim == 0 or len(array) != n:
        raise UserError(f"labels have shape {array.shape}, expected ({n},): one an example")
    return array


def as_num_classes(num_classes: Any) -> int:
    """A number of classes that fits in memory."""
    count = as_count("num_classes", num_classes, least=1)
    if count > MOST_CLASSES:
        raise UserError(f"num_classes must be at most {MOST_CLASSES}, not {count}")
    return count


def as_rows_of(name: str, value: ArrayLike, n: int) -> np.ndarray:
    """Rows 0..n-1, as NumPy integers (k,); no padding."""
    rows = np.asarray(as_indices(name, value, n))
    if np.any(rows < 0):
        raise UserError(f"{name} hold -1, which is padding; pass rows of 0..{n - 1}")
    return rows


def as_indices(name: str, value: ArrayLike, n: int = 2**31) -> Array:
    """Rows 0..n-1, or -1 for padding, as integers (k,)."""
    array = as_array(name, value)
    if array.size == 0 and not isinstance(value, np.ndarray | jax.Array):
        array = array.astype(np.int32)
    if not jnp.issubdtype(array.dtype, np.integer) or array.ndim != 1:
        raise UserError(f"{name} must be integers (k,), not {array.dtype} {array.shape}")
    if not isinstance(array, Tracer):
        array = np.asarray(array)
        outside = int(np.sum((array < -1) | (array.astype(np.float64) >= n)))
        if outside:
            raise UserError(
                f"{outside} {name} lie outside 0..{n - 1}, the rows there are; -1 is padding"
            )
    return jnp.asarray(array).astype(jnp.int32)
