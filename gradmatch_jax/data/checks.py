"""What was read or handed over becomes a `Split`, or one line that says what to do."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int32, Shaped

from gradmatch_jax.data.splits import InputSource, Split
from gradmatch_jax.errors import UserError

MAX_VOCABULARY = 1_000_000  # an embedding of 64 for each is 256 MB


def make_split(where: str, inputs: Any, labels: Any) -> Split:
    """Check inputs and labels and make a `Split` of them. How an array is read:

    - uint8 (n, h, w), which gets one channel, or (n, h, w, c): images, pixels in 0..255
    - float (n, h, w) or (n, h, w, c): images as they are, no division by 255
    - float of any other shape, uint8 (n, d) and booleans: numbers
    - wider integers (n, length): token ids, where 0 is padding and words count from 1
    - a stream (`InputSource`) is taken as it is

    labels: any integers or booleans, (n,) or (n, 1)
    where: what to call this in messages, e.g. "x_train, y_train"

    Raises:
      UserError: if the inputs are of no such kind or hold nan or inf, the labels are not
        integers, the counts differ, or there is nothing.
    """
    if not _is_array(inputs) and not isinstance(inputs, InputSource):
        raise UserError(
            f"{where}: inputs must be an array or a stream with shape, dtype and take, not "
            f"{type(inputs).__name__} (a sparse matrix: .toarray())"
        )
    x = _as_inputs(where, _as_array(where, inputs)) if _is_array(inputs) else inputs
    y = _as_labels(where, labels)
    noun = "images" if len(x.shape) == (4 if isinstance(x, np.ndarray) else 3) else "rows"
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} {noun} but {len(y)} labels")
    if len(y) == 0:
        raise UserError(f"{where}: no {noun}")
    return Split(x, y)


def _is_array(inputs: Any) -> bool:
    return hasattr(inputs, "__array__") or isinstance(inputs, list | tuple)


def _as_array(where: str, inputs: Any) -> np.ndarray:
    from gradmatch_jax.inputs.arrays import to_numpy  # JAX, which listing data sets does without

    try:
        x = np.asarray(inputs if isinstance(inputs, list | tuple) else to_numpy(where, inputs))
    except UserError:
        raise
    except ValueError as error:  # rows of several lengths
        raise UserError(
            f"{where}: inputs must have one shape a row; pad sequences with 0"
        ) from error
    return x.astype(np.float32) if x.dtype.name == "bfloat16" else x


def _as_inputs(where: str, x: np.ndarray) -> Shaped[np.ndarray, "n ..."]:
    if x.dtype.kind not in "biuf":
        hint = " (texts: --dataset tsv)" if x.dtype.kind in "US" else ""
        raise UserError(f"{where}: inputs must be numbers, not {x.dtype}{hint}")
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise UserError(
            f"{where}: inputs must be (n, d), images (n, h, w) or (n, h, w, c), not {x.shape}"
        )
    if x.dtype.kind in "iu" and x.dtype != np.uint8:
        return _as_tokens(where, x)
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        x = _as_floats(where, x)
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 4:
        raise UserError(
            f"{where}: images {x.shape} have their channels first; "
            "the channels come last: x.transpose(0, 2, 3, 1)"
        )
    return x


def _as_floats(where: str, x: np.ndarray) -> Float[np.ndarray, "n ..."]:
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    bad = ~np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if bad.any():
        raise UserError(
            f"{where}: {int(bad.sum())} of {len(x)} rows hold nan or inf "
            f"(first: row {int(bad.argmax())}); fill in or drop them"
        )
    return x


def _as_tokens(where: str, x: np.ndarray) -> Int32[np.ndarray, "n length"]:
    if x.ndim != 2:
        raise UserError(
            f"{where}: {x.dtype} {x.shape} is no sequence of token ids (n, length); "
            "store images as uint8 in 0..255, other numbers as floats"
        )
    bad = (x < 0).any(axis=1)
    if bad.any():
        raise UserError(
            f"{where}: integers are token ids, and {int(bad.sum())} of {len(x)} rows hold negative "
            f"ones (first: row {int(bad.argmax())}); pad with 0 and number words from 1; "
            "store other numbers as floats"
        )
    if len(x) and x.max() >= MAX_VOCABULARY:
        raise UserError(
            f"{where}: integers are token ids, and reach {x.max()}; number words 1..V, "
            f"V below {MAX_VOCABULARY}; store other numbers as floats"
        )
    return x.astype(np.int32)


def _as_labels(where: str, labels: Any) -> Int32[np.ndarray, " n"]:
    y = _as_array(where, labels)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.shape[1] > 1:
        raise UserError(
            f"{where}: labels must be integers of shape (n,), not {y.shape}; "
            "one-hot labels: y.argmax(axis=1)"
        )
    if y.ndim != 1 or y.dtype.kind not in "iub":
        hint = "; y.astype(int), if they are whole numbers" if y.dtype.kind == "f" else ""
        raise UserError(
            f"{where}: labels must be integers of shape (n,), not {y.dtype} {y.shape}{hint}"
        )
    if len(y) and (y.min() < -(2**31) or y.max() >= 2**31):
        raise UserError(f"{where}: labels do not fit in 32 bits, expected 0..C-1")
    return y.astype(np.int32)


def check_labels(where: str, labels: Int[np.ndarray, " n"], num_classes: int) -> None:
    """Raise `UserError` with a count if any label is outside 0..num_classes-1."""
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        hint = ", where -1 marks rows without a label, drop them" if labels.min() == -1 else ""
        raise UserError(
            f"{where}: {int(outside.sum())} of {len(labels)} rows have labels outside "
            f"0..{num_classes - 1} (first: row {int(outside.argmax())}){hint}"
        )


def count_classes(name: str, train: Split, others: list[Split]) -> int:
    """The number of classes where only the labels say: one more than the largest in training.

    Raises:
      UserError: if that is more than there are rows, only one, or no split has a row of class 0.
    """
    classes = int(train.labels.max()) + 1
    if classes > len(train):
        raise UserError(
            f"{name}: training labels reach {classes - 1} with only {len(train)} rows; "
            f"number the classes 0..C-1"
        )
    lowest = min(int(split.labels.min()) for split in (train, *others))
    if lowest > 0:
        raise UserError(
            f"{name}: labels start at {lowest}; number the classes 0..C-1"
            + (" (subtract 1)" if lowest == 1 else "")
        )
    if classes == 1:
        raise UserError(f"{name}: all training labels are 0; there must be two classes or more")
    return max(classes, 1)  # all labels negative: check_labels says so


def check_alike(where: str, split: Split, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise `UserError` if a split's inputs are not of the training inputs' shape and type."""
    noun, axes = ("images", " (h, w, c)") if len(shape) == 3 else ("rows", "")
    if split.shape != shape:
        raise UserError(f"{where}: {noun} are {split.shape}, expected {shape}{axes}")
    if split.dtype != dtype:
        raise UserError(f"{where}: {noun} are {split.dtype}, expected {dtype} as in training")
