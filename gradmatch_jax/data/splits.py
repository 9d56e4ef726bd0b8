"""Labelled images: arrays in memory or streams, checked once and split by class."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, UInt8

from gradmatch_jax.errors import UserError


@runtime_checkable
class ImageSource(Protocol):
    """Images decoded on demand: a sequence of n images of one shape.

    `take` is a pure function of its indices, so a run that stops and starts again reads
    the same pixels.
    """

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        ...

    def take(self, indices: Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "b h w c"]:
        """Return the images at `indices`, in that order."""
        ...


@dataclass(frozen=True)
class Subset:
    """The images of `source` at `indices`, itself an `ImageSource`."""

    source: ImageSource
    indices: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.source.shape

    def take(self, indices: Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "b h w c"]:
        """Return the images at `indices` of this subset, in that order."""
        return self.source.take(self.indices[np.asarray(indices)])


@dataclass(frozen=True)
class Split:
    """Images with a label each.

    images: uint8 pixels in 0..255, an array (n, h, w, c) or an `ImageSource` of n images
    labels: int32 (n,), classes 0..num_classes-1
    """

    images: UInt8[np.ndarray, "n h w c"] | ImageSource
    labels: Int32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        if isinstance(self.images, np.ndarray):
            height, width, channels = self.images.shape[1:]
            return height, width, channels
        return self.images.shape

    @property
    def in_memory(self) -> bool:
        """Whether the images are one array; otherwise they are decoded by `take`."""
        return isinstance(self.images, np.ndarray)

    def take(self, indices: Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "b h w c"]:
        """Return the images at `indices`, in that order, from memory or from the stream."""
        if isinstance(self.images, np.ndarray):
            return self.images[indices]
        return self.images.take(np.asarray(indices))

    def subset(self, indices: Int[np.ndarray, " m"]) -> "Split":
        """Return the rows at `indices`: a copy of an array, a view of a stream."""
        indices = np.asarray(indices)
        images = self.images
        if isinstance(images, np.ndarray):
            return Split(images[indices], self.labels[indices])
        return Split(Subset(images, indices), self.labels[indices])


class Parts(NamedTuple):
    """What a reader found on disk: the set's own splits, before any validation set is cut."""

    train: Split
    test: Split | None
    validation: Split | None = None
    class_names: tuple[str, ...] = ()


def make_split(where: str, images: np.ndarray | ImageSource, labels: np.ndarray) -> Split:
    """Check what was read and make a `Split` of it.

    images: uint8 (n, h, w), which gets one channel, or (n, h, w, c), or a stream
    labels: any integers, (n,) or (n, 1)
    where: what to call this in messages, e.g. "x_train, y_train"

    Raises:
      UserError: if the pixels are not uint8, the labels not integers, the counts differ,
        or there is nothing.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{where}: labels must be integers of shape (n,), not {labels.dtype} {labels.shape}"
        )
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8:
            raise UserError(f"{where}: images must be uint8 in 0..255, not {images.dtype}")
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise UserError(
                f"{where}: images must be (n, h, w) or (n, h, w, c), not {images.shape}"
            )
    if len(images) != len(labels):
        raise UserError(f"{where}: {len(images)} images but {len(labels)} labels")
    if len(labels) == 0:
        raise UserError(f"{where}: no images")
    if labels.min() < -(2**31) or labels.max() >= 2**31:
        raise UserError(f"{where}: labels do not fit in 32 bits, expected 0..C-1")
    return Split(images, labels.astype(np.int32))


def check_labels(where: str, split: Split, num_classes: int) -> None:
    """Raise `UserError` with a count if any label is outside 0..num_classes-1."""
    outside = int(np.sum((split.labels < 0) | (split.labels >= num_classes)))
    if outside:
        raise UserError(
            f"{where}: {outside} of {len(split)} rows have labels outside 0..{num_classes - 1}"
        )


def stratified_indices(
    labels: Int[np.ndarray, " n"], fraction: float, seed: int
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " held"]]:
    """Hold out round(fraction n) rows at random, the same share of every class.

    A class of n_c rows gives floor(fraction n_c); what rounding leaves goes to the classes
    with the largest remainders. No class gives its last row, nor another in its place, so
    many tiny classes give fewer rows in all. Both answers are sorted.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    exact = fraction * counts
    quotas = np.minimum(np.floor(exact).astype(np.int64), counts - 1)
    remainders = exact - quotas
    remainders[quotas + 1 >= counts] = 0.0
    takers = np.argsort(-remainders, kind="stable")[: np.count_nonzero(remainders > 1e-9)]
    quotas[takers[: max(round(fraction * len(labels)) - int(quotas.sum()), 0)]] += 1
    held = np.zeros(len(labels), bool)
    for label, quota in zip(classes, quotas, strict=True):
        held[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
