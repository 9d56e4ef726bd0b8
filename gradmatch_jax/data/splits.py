"""Labelled inputs: arrays in memory or streams, split by class."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, Shaped


@runtime_checkable
class InputSource(Protocol):
    """Inputs made on demand (images decoded, say): a sequence of n of one shape and type.

    `take` is a pure function of its indices, so a run that stops and starts again reads
    the same values. Several threads call it at once, each for some rows of a batch.
    """

    def __len__(self) -> int:
        """Return the number of inputs."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: height, width and channels of an image."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The type of the inputs' values: uint8 of images."""
        ...

    def take(self, indices: Int[np.ndarray, " b"]) -> Shaped[np.ndarray, "b ..."]:
        """Return the inputs at `indices`, in that order."""
        ...


@dataclass(frozen=True)
class Subset:
    """The inputs of `source` at `indices`, itself an `InputSource`."""

    source: InputSource
    indices: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the inputs' values."""
        return self.source.dtype

    def take(self, indices: Int[np.ndarray, " b"]) -> Shaped[np.ndarray, "b ..."]:
        """Return the inputs at `indices` of this subset, in that order."""
        return self.source.take(self.indices[np.asarray(indices)])


@dataclass(frozen=True)
class Split:
    """Inputs with a label each. What the inputs are, their data set's `prepare` knows.

    inputs: an array (n, ...) or an `InputSource` of n
    labels: int32 (n,), classes 0..num_classes-1
    origin: where this is a part of what a user handed over, the row of each in that; None: the rows
        are their own
    """

    inputs: Shaped[np.ndarray, "n ..."] | InputSource
    labels: Int32[np.ndarray, " n"]
    origin: Int[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: height, width and channels of an image."""
        return self.inputs.shape[1:] if isinstance(self.inputs, np.ndarray) else self.inputs.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the inputs' values."""
        return np.dtype(self.inputs.dtype)

    @property
    def rows(self) -> Int[np.ndarray, " n"]:
        """The row of each in what the user handed over, before anything was held out or cut."""
        return np.arange(len(self)) if self.origin is None else self.origin

    def positions(self, rows: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Where in this split rows of the user's numbering are: `rows` backwards."""
        order = np.argsort(self.rows)
        return order[np.searchsorted(self.rows, rows, sorter=order)]

    @property
    def in_memory(self) -> bool:
        """Whether the inputs are one array; otherwise they are made by `take`."""
        return isinstance(self.inputs, np.ndarray)

    def take(self, indices: Int[np.ndarray, " b"]) -> Shaped[np.ndarray, "b ..."]:
        """Return the inputs at `indices`, in that order, from memory or from the stream."""
        if isinstance(self.inputs, np.ndarray):
            return self.inputs[indices]
        return self.inputs.take(np.asarray(indices))

    def subset(self, indices: Int[np.ndarray, " m"]) -> "Split":
        """Return the rows at `indices`: a copy of an array, a view of a stream."""
        indices = np.asarray(indices)
        inputs = self.inputs
        if isinstance(inputs, np.ndarray):
            return Split(inputs[indices], self.labels[indices], self.rows[indices])
        return Split(Subset(inputs, indices), self.labels[indices], self.rows[indices])


class Parts(NamedTuple):
    """What a reader found on disk: the set's own splits, before any validation set is cut."""

    train: Split
    test: Split | None
    validation: Split | None = None
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()  # the word of each token id, that of the padding first


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
