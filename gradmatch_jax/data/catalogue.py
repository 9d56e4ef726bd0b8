"""`load_dataset`: every data set by name, read, checked and split."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gradmatch_jax.data import cifar, digits, folder, mnist, npz, svhn, tfds, tsv
from gradmatch_jax.data.dataset import NOTHING_ASSUMED, Dataset, Field, assemble
from gradmatch_jax.data.files import one_line
from gradmatch_jax.data.splits import Parts
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import (
    INSIDE,
    SEED,
    SIDE,
    as_number,
    as_path,
    as_whole,
    check_literal,
)


@dataclass(frozen=True)
class Spec:
    """How a set is read and what the field assumes of it.

    read: (data_dir, image_size) -> the set's own splits
    tfds_name: its name in TensorFlow Datasets, where it has one there
    streamed: whether its pictures are read as they are wanted, and larger than the model takes
      them, for resized crops
    """

    read: Callable[[Path | None, int], Parts]
    tfds_name: str | None = None
    field: Field = NOTHING_ASSUMED
    streamed: bool = False


def _tiny(
    num_classes: int, mean: tuple[float, ...], std: tuple[float, ...], *, flip: bool
) -> Field:
    """Colour pictures of 32 x 32 with their usual random crops."""
    return Field(num_classes, (32, 32, 3), mean=mean, std=std, crop=1 / 8, flip=flip)


DATASETS = MappingProxyType(
    {
        "digits": Spec(lambda path, size: digits.read_digits(), field=Field(num_classes=10)),
        "mnist": Spec(
            lambda path, size: mnist.read_mnist(path),
            tfds_name="mnist",
            field=Field(num_classes=10, shape=(28, 28, 1), mean=(0.1307,), std=(0.3081,)),
        ),
        "cifar10": Spec(
            lambda path, size: cifar.read_cifar(cifar.CIFAR10, path),
            tfds_name="cifar10",
            field=_tiny(10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), flip=True),
        ),
        "cifar100": Spec(
            lambda path, size: cifar.read_cifar(cifar.CIFAR100, path),
            tfds_name="cifar100",
            field=_tiny(100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), flip=True),
        ),
        "svhn": Spec(
            lambda path, size: svhn.read_svhn(path),
            tfds_name="svhn_cropped",
            field=_tiny(10, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), flip=False),
        ),
        "imagenet": Spec(
            folder.read_folder,
            tfds_name="imagenet2012",
            field=Field(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), flip=True),
            streamed=True,
        ),
        "npz": Spec(lambda path, size: npz.read_npz(path)),
        "tsv": Spec(lambda path, size: tsv.read_tsv(path)),
    }
)
DATASET_NAMES = tuple(DATASETS)


def load_dataset(
    name: str,
    data_dir: Any = None,
    *,
    reader: str = "files",
    validation_fraction: Any = 0.1,
    seed: Any = 0,
    image_size: Any = 224,
) -> Dataset:
    """Load the set `name`, one of `DATASET_NAMES`.

    Where the set has no validation split, `validation_fraction` of the training set becomes one,
    the same share of every class, drawn by `seed` (paper, appendix A.3.1). digits has no test
    split either: 20 % of it is the test set, the same rows whatever the seed.

    Args:
        name: of the set.
        data_dir: the folder of the set's original files (npz: the file; tsv: the training file, its
            folder, or FOLDER/NAME of NAME.train.tsv and NAME.test.tsv; digits: not read). None
            downloads mnist, cifar10, cifar100 and svhn into the cache.
        reader: "files" for the original files, "tfds" for what TensorFlow Datasets has prepared in
            `data_dir` (None: its default folder).
        validation_fraction: share of the training set that is held out.
        seed: of that draw.
        image_size: side in pixels of imagenet's crops; the others keep theirs.

    Returns:
        The data set, checked.

    Raises:
        UserError: if an argument, a file or its contents are unfit; one line that says what to do.

    Example:
        >>> digits = load_dataset("digits")
        >>> len(digits.train), digits.train.shape, digits.num_classes
        (1294, (8, 8, 1), 10)
    """
    spec = DATASETS[check_literal("data set", name, DATASET_NAMES)]
    held_out = as_number("validation_fraction", validation_fraction, INSIDE, static=True)
    seed = as_whole("seed", seed, SEED)
    size = as_whole("image_size", image_size, SIDE)
    path = None if data_dir is None else as_path("data_dir", data_dir)
    read = _reader(name, spec, reader)
    try:
        parts = read(path, size)
    except (OSError, MemoryError) as error:  # readers answer for contents only
        raise UserError(f"cannot read {name}: {one_line(error)}") from error
    field = dataclasses.replace(spec.field, side=size) if spec.streamed else spec.field
    return assemble(name, parts, field, held_out, seed)


def _reader(name: str, spec: Spec, reader: str) -> Callable[[Path | None, int], Parts]:
    if check_literal("reader", reader, ("files", "tfds")) == "files":
        return spec.read
    if spec.tfds_name is None:
        raise UserError(f"{name} is not read through tfds; use reader files")
    return functools.partial(tfds.read_tfds, spec.tfds_name)
