"""A data set ready for training, from splits that were read or from arrays of one's own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradmatch_jax.data.checks import check_alike, check_labels, count_classes, make_split
from gradmatch_jax.data.prepare import ImagePrepare, Prepare, fitted
from gradmatch_jax.data.splits import Parts, Split, stratified_indices
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import INSIDE, SEED, as_count, as_number, as_whole, short

_TEST_FRACTION = 0.2  # paper, appendix A.3.1: 20 % as test where a set has no test split
_TEST_SEED = 0  # not the run's seed: every run must be scored on the same rows


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    prepare: how raw inputs become a model's
    class_names: one for each class
    vocabulary: where the inputs are token ids, the word of each, that of the padding (0) first
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    prepare: Prepare
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        y_test: Any,
        x_val: Any = None,
        y_val: Any = None,
        *,
        prepare: Prepare | None = None,
        class_names: tuple[str, ...] = (),
        vocabulary: tuple[str, ...] = (),
        validation_fraction: float = 0.1,
        seed: int = 0,
    ) -> "Dataset":
        """A data set of one's own: images, rows of floats, or sequences of token ids.

        How each array is read is `gradmatch_jax.data.checks.make_split`'s rule: uint8 images are
        divided by 255, floats are not; all but token ids are standardised by the training set's
        own mean and deviation (a channel's, or a column's).

        Args:
          name: what to call it in messages and results.
          x_train: arrays (n, ...), or streams (`InputSource`).
          y_train: labels, integers 0..C-1.
          x_test: as x_train.
          y_test: as y_train.
          x_val: as x_train, where there is a validation set.
          y_val: as y_train.
          prepare: how raw inputs become the model's, instead of the standardisation; a stream
            needs one.
          class_names: of each class; as many as there are classes. Their numbers, if left out.
          vocabulary: the word of each token id, the padding's first. Their numbers, if left out.
          validation_fraction: the share of the training set that is held out where there is no
            x_val.
          seed: which rows that are.

        Returns:
          The data set, checked.

        Raises:
          UserError: what is unfit, in one line.

        Example:
          >>> import numpy as np
          >>> x, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
          >>> data = Dataset.from_arrays("mine", x[:40], y[:40], x[40:], y[40:])
          >>> len(data.train), len(data.validation), len(data.test), data.num_classes
          (36, 4, 20, 3)
        """
        if (x_val is None) != (y_val is None):
            raise UserError(f"{name}: give both x_val and y_val or neither")
        validation = None if x_val is None else make_split(f"{name} x_val, y_val", x_val, y_val)
        parts = Parts(
            make_split(f"{name} x_train, y_train", x_train, y_train),
            make_split(f"{name} x_test, y_test", x_test, y_test),
            validation,
            _words("class_names", class_names),
            _words("vocabulary", vocabulary),
        )
        return assemble(name, parts, NOTHING_ASSUMED, validation_fraction, seed, prepare=prepare)


@dataclass(frozen=True)
class Field:
    """What the field assumes of a data set.

    num_classes, shape: None where the data say
    mean, std: the field's constants; None to measure them on the training set
    crop: padding of random crops as a share of the image's height (CIFAR: 4 of 32 pixels)
    flip: whether images are mirrored at random
    side: of random resized crops, in pixels; 0 where there are none
    """

    num_classes: int | None = None
    shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: float = 0.0
    flip: bool = False
    side: int = 0


NOTHING_ASSUMED = Field()


def assemble(
    name: str,
    parts: Parts,
    field: Field,
    validation_fraction: float,
    seed: int,
    *,
    prepare: Prepare | None = None,
) -> Dataset:
    """Check a set's own splits against each other, cut those that lack, and fit `prepare`.

    Raises:
      UserError: if the splits do not fit each other, or the labels the classes.
    """
    share = as_number("validation_fraction", validation_fraction, INSIDE)
    seed = as_whole("seed", seed, SEED)
    train, test, validation = parts.train, parts.test, parts.validation
    others = [split for split in (test, validation) if split is not None]
    num_classes = field.num_classes or len(parts.class_names) or count_classes(name, train, others)
    for part, split in (("train", train), ("test", test), ("validation", validation)):
        if split is not None:
            check_labels(f"{name} {part}", split.labels, num_classes)
            check_alike(f"{name} {part}", split, field.shape or train.shape, train.dtype)
    vocabulary = _vocabulary(name, parts, [train, *others])
    if test is None:
        train, test = _hold_out(name, train, _TEST_FRACTION, _TEST_SEED)
    if validation is None:
        train, validation = _hold_out(name, train, share, seed)
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        num_classes=num_classes,
        prepare=prepare or _prepare(name, train, field),
        class_names=parts.class_names or tuple(str(label) for label in range(num_classes)),
        vocabulary=vocabulary,
    )


def _words(name: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UserError(f"{name} must be a tuple of strings, not {short(given)}")
    return tuple(str(word) for word in given)


def check(dataset: Dataset) -> None:
    """Check a `Dataset` that was put together by hand.

    Raises:
      UserError: an empty split, other numbers of labels than inputs, labels beyond the classes,
        nan or inf, splits of several shapes or types, or a `prepare` that cannot be hashed.
    """
    if not isinstance(dataset, Dataset):
        raise UserError(f"dataset must be a Dataset, not {short(dataset)}: Dataset.from_arrays")
    name, train = dataset.name, dataset.train
    as_count("num_classes", dataset.num_classes, least=1)
    if not callable(dataset.prepare):
        raise UserError(f"{name}: prepare must be a function, not {short(dataset.prepare)}")
    for part in ("train", "validation", "test"):
        split = getattr(dataset, part)
        if not isinstance(split, Split):
            raise UserError(f"{name} {part} must be a Split, not {short(split)}")
        made = make_split(f"{name} {part}", split.inputs, split.labels)
        if made.shape != split.shape or made.dtype != split.dtype:
            raise UserError(
                f"{name} {part}: inputs {split.dtype} {split.shape} should be {made.dtype} "
                f"{made.shape}; Dataset.from_arrays makes them so"
            )
        check_labels(f"{name} {part}", split.labels, dataset.num_classes)
        check_alike(f"{name} {part}", split, train.shape, train.dtype)
    try:
        hash(dataset.prepare)
    except TypeError as error:
        raise UserError(
            f"{name}: prepare must be hashable (a function or a frozen dataclass): {error}"
        ) from error


def _prepare(name: str, train: Split, field: Field) -> Prepare:
    crop_padding = round(field.crop * train.shape[0])
    if field.mean is not None and field.std is not None:
        if train.dtype != np.uint8:
            raise UserError(f"{name}: images must be uint8 in 0..255, not {train.dtype}")
        return ImagePrepare(field.mean, field.std, crop_padding, field.flip, field.side)
    if not isinstance(train.inputs, np.ndarray):
        raise UserError(f"{name}: a stream has no statistics of its own; give prepare=")
    return fitted(train.inputs)


def _vocabulary(name: str, parts: Parts, splits: list[Split]) -> tuple[str, ...]:
    """The words of the token ids, or their numbers where there are no words."""
    if parts.train.dtype.kind != "i":
        return ()
    largest = max(int(s.inputs.max()) for s in splits if isinstance(s.inputs, np.ndarray))
    if not parts.vocabulary:
        return ("", *(str(token) for token in range(1, largest + 1)))
    if largest >= len(parts.vocabulary):
        raise UserError(
            f"{name}: token ids reach {largest}, but the vocabulary has {len(parts.vocabulary)} "
            "words, the padding's among them"
        )
    return parts.vocabulary


def _hold_out(name: str, split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    kept, held = stratified_indices(split.labels, fraction, seed)
    if len(held) == 0:
        raise UserError(
            f"{name}: {fraction:g} of {len(split)} training rows leaves nothing to validate on; "
            f"raise validation_fraction or add rows (a class keeps its last one)"
        )
    return split.subset(kept), split.subset(held)
