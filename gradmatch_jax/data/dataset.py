"""`load_dataset`: every data set by name, as checked uint8 splits with their statistics."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from gradmatch_jax.data import cifar, digits, folder, mnist, npz, svhn, tfds
from gradmatch_jax.data.files import one_line
from gradmatch_jax.data.splits import Parts, Split, check_labels, stratified_indices
from gradmatch_jax.errors import UserError, no_such

_DIGITS_TEST_FRACTION = 0.2  # paper, appendix A.3.1: 20 % as test where a set has no test split
_DIGITS_TEST_SEED = 0  # not the run's seed: every run must be scored on the same rows


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    mean, std: per channel, of pixels in [0, 1]
    crop_padding: pixels of zero padding for random crops; 0 where the field does not crop
    flip: whether the field mirrors this set's images at random
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """How a set is read and what the field assumes of it.

    read: (data_dir, image_size) -> the set's own splits
    tfds_name: its name in TensorFlow Datasets, where it has one there
    num_classes, shape: None where the data says
    mean, std: the field's constants; None to measure them on the training images
    crop: padding of random crops as a share of the image's height (CIFAR: 4 of 32 pixels)
    """

    read: Callable[[Path | None, int], Parts]
    tfds_name: str | None = None
    num_classes: int | None = None
    shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: float = 0.0
    flip: bool = False


DATASETS = MappingProxyType(
    {
        "digits": Spec(lambda path, size: digits.read_digits(), num_classes=10),
        "mnist": Spec(
            lambda path, size: mnist.read_mnist(path),
            tfds_name="mnist",
            num_classes=10,
            shape=(28, 28, 1),
            mean=(0.1307,),
            std=(0.3081,),
        ),
        "cifar10": Spec(
            lambda path, size: cifar.read_cifar(cifar.CIFAR10, path),
            tfds_name="cifar10",
            num_classes=10,
            shape=(32, 32, 3),
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            crop=1 / 8,
            flip=True,
        ),
        "cifar100": Spec(
            lambda path, size: cifar.read_cifar(cifar.CIFAR100, path),
            tfds_name="cifar100",
            num_classes=100,
            shape=(32, 32, 3),
            mean=(0.5071, 0.4865, 0.4409),
            std=(0.2673, 0.2564, 0.2762),
            crop=1 / 8,
            flip=True,
        ),
        "svhn": Spec(
            lambda path, size: svhn.read_svhn(path),
            tfds_name="svhn_cropped",
            num_classes=10,
            shape=(32, 32, 3),
            mean=(0.4377, 0.4438, 0.4728),
            std=(0.1980, 0.2010, 0.1970),
            crop=1 / 8,
        ),
        "imagenet": Spec(
            folder.read_folder,
            tfds_name="imagenet2012",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            crop=1 / 8,
            flip=True,
        ),
        "npz": Spec(lambda path, size: npz.read_npz(path)),
    }
)
DATASET_NAMES = tuple(DATASETS)


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    reader: Literal["files", "tfds"] = "files",
    validation_fraction: float = 0.1,
    seed: int = 0,
    image_size: int = 224,
) -> Dataset:
    """Load the set `name`, one of `DATASET_NAMES`.

    Where the set has no validation split, `validation_fraction` of the training set becomes one,
    the same share of every class, drawn by `seed` (paper, appendix A.3.1). digits has no test
    split either: 20 % of it is the test set, the same rows whatever the seed.

    data_dir: the folder of the set's original files (npz: the file; digits: not read). None
      downloads mnist, cifar10, cifar100 and svhn into the cache.
    reader: "files" for the original files, "tfds" for what TensorFlow Datasets has prepared in
      `data_dir` (None: its default folder)
    image_size: side in pixels to which imagenet is resized and cropped; the other sets keep theirs

    Raises:
      UserError: if an argument, a file or its contents are unfit; one line that says what to do.
    """
    spec = _find_spec(name)
    if not 0.0 < validation_fraction < 1.0:
        raise UserError(f"validation_fraction must be between 0 and 1, not {validation_fraction}")
    if seed < 0:
        raise UserError(f"seed must be 0 or more, not {seed}")
    if image_size < 1:
        raise UserError(f"image_size must be at least 1 pixel, not {image_size}")
    path = None if data_dir is None else Path(data_dir).expanduser()
    read = _reader(name, spec, reader)
    try:
        parts = read(path, image_size)
    except OSError as error:  # no permission, a failing disk: readers answer for contents only
        raise UserError(f"cannot read {name}: {one_line(error)}") from error
    return _assemble(name, spec, parts, validation_fraction, seed)


def _find_spec(name: str) -> Spec:
    if name in DATASETS:
        return DATASETS[name]
    raise no_such("data set", name, DATASET_NAMES)


def _reader(name: str, spec: Spec, reader: str) -> Callable[[Path | None, int], Parts]:
    if reader == "files":
        return spec.read
    if reader != "tfds":
        raise UserError(f"no reader {reader!r}; there are files and tfds")
    if spec.tfds_name is None:
        raise UserError(f"{name} is not read through tfds; use reader files")
    return functools.partial(tfds.read_tfds, spec.tfds_name)


def _assemble(name: str, spec: Spec, parts: Parts, fraction: float, seed: int) -> Dataset:
    train, test, validation = parts.train, parts.test, parts.validation
    num_classes = spec.num_classes or len(parts.class_names) or _count_classes(name, train)
    for part, split in (("train", train), ("test", test), ("validation", validation)):
        if split is not None:
            check_labels(f"{name} {part}", split, num_classes)
            _check_shape(f"{name} {part}", split, spec.shape or train.shape)
    if test is None:
        train, test = _hold_out(name, train, _DIGITS_TEST_FRACTION, _DIGITS_TEST_SEED)
    if validation is None:
        train, validation = _hold_out(name, train, fraction, seed)
    if spec.mean is None or spec.std is None:
        assert isinstance(train.images, np.ndarray), "streams have the field's constants"
        mean, std = pixel_statistics(train.images)
    else:
        mean, std = spec.mean, spec.std
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        num_classes=num_classes,
        mean=mean,
        std=std,
        crop_padding=round(spec.crop * train.shape[0]),
        flip=spec.flip,
        class_names=parts.class_names or tuple(str(label) for label in range(num_classes)),
    )


def _hold_out(name: str, split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    kept, held = stratified_indices(split.labels, fraction, seed)
    if len(held) == 0:
        raise UserError(
            f"{name}: {fraction:g} of {len(split)} training rows leaves nothing to validate on; "
            f"raise validation_fraction or add rows (a class keeps its last one)"
        )
    return split.subset(kept), split.subset(held)


def _count_classes(name: str, train: Split) -> int:
    classes = int(train.labels.max()) + 1
    if classes > len(train):
        raise UserError(
            f"{name}: training labels reach {classes - 1} with only {len(train)} rows; "
            f"number the classes 0..C-1"
        )
    return max(classes, 1)  # all labels negative: check_labels says so


def _check_shape(where: str, split: Split, shape: tuple[int, int, int]) -> None:
    if split.shape != shape:
        raise UserError(f"{where}: images are {split.shape}, expected {shape} (h, w, c)")


def pixel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation, of pixels in [0, 1].

    Exact, from counts of the 256 values. A constant channel gets std 1, to be divided by.
    """
    values = np.arange(256) / 255.0
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviations.append(float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())) or 1.0)
    return tuple(means), tuple(deviations)
