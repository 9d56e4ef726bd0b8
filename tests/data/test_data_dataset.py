"""`load_dataset` and its splits: digits against scikit-learn, stratification, bad arguments."""

import math
import subprocess
import sys

import numpy as np
import pytest

from gradmatch_jax.data import DATASET_NAMES, InputSource, Split, load_dataset
from gradmatch_jax.data.catalogue import DATASETS
from gradmatch_jax.data.checks import check_labels, make_split
from gradmatch_jax.data.prepare import pixel_statistics
from gradmatch_jax.data.splits import Subset, stratified_indices
from gradmatch_jax.errors import UserError


def test_digits_are_scikit_learns():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    from gradmatch_jax.data.digits import read_digits

    original = sklearn_datasets.load_digits()
    stored = read_digits().train
    assert isinstance(stored.inputs, np.ndarray)
    assert stored.inputs.dtype == np.uint8
    np.testing.assert_array_equal(np.rint(stored.inputs[..., 0] / 255 * 16), original.images)
    np.testing.assert_array_equal(stored.labels, original.target)
    assert stored.inputs.max() == 255


def rows(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.take(np.arange(len(split)))}


def test_digits_splits_are_disjoint_and_complete():
    digits = load_dataset("digits")
    parts = [digits.train, digits.validation, digits.test]
    assert [len(part) for part in parts] == [1294, 144, 359]
    assert sum(len(rows(part)) for part in parts) == len(set.union(*map(rows, parts))) == 1797
    assert digits.num_classes == 10
    assert digits.class_names == tuple("0123456789")
    assert (digits.prepare.crop_padding, digits.prepare.flip) == (0, False)
    assert digits.train.shape == (8, 8, 1)
    assert digits.train.in_memory
    assert all(part.labels.dtype == np.int32 for part in parts)


def test_seed_moves_validation_but_never_the_test_set():
    first, again, other = (load_dataset("digits", seed=seed) for seed in (0, 0, 1))
    assert rows(first.validation) == rows(again.validation)
    assert rows(first.validation) != rows(other.validation)
    assert rows(first.test) == rows(other.test)
    larger = load_dataset("digits", validation_fraction=0.5)
    assert rows(first.test) == rows(larger.test)


def test_statistics_are_those_of_the_training_pixels():
    digits = load_dataset("digits")
    pixels = np.asarray(digits.train.inputs, np.float64) / 255
    assert digits.prepare.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert digits.prepare.std == pytest.approx([pixels.std()], rel=1e-12)


def test_statistics_are_per_channel_and_never_zero():
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 3, 3), dtype=np.uint8)
    images[..., 1] = 9
    mean, std = pixel_statistics(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std[::2], images.std((0, 1, 2))[::2] / 255, rtol=1e-12)
    assert std[1] == 1.0


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.37, 0.9])
@pytest.mark.parametrize("counts", [(100,), (10, 10, 10), (5, 50, 500), (1, 1, 97), (3, 0, 8)])
def test_stratified_split_is_exact_and_proportional(fraction, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(1).permutation(labels)
    kept, held = stratified_indices(labels, fraction, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)
    for label, count in enumerate(counts):
        taken = int(np.sum(labels[held] == label))
        assert math.floor(fraction * count) <= taken <= math.ceil(fraction * count) or (
            taken == count - 1
        )
        assert count == 0 or taken < count
    if min(counts) >= 10:  # no class is too small to give its share
        assert len(held) == round(fraction * len(labels))


def test_stratified_split_draws_every_row_over_seeds():
    labels = np.repeat([0, 1], 10)
    held = [stratified_indices(labels, 0.1, seed)[1] for seed in range(200)]
    counts = np.bincount(np.concatenate(held), minlength=20)
    assert counts.min() > 0
    assert counts.sum() == 400


class Counter:
    """A stream whose image i is filled with i."""

    shape, dtype = (2, 2, 1), np.dtype(np.uint8)

    def __len__(self) -> int:
        return 10

    def take(self, indices: np.ndarray) -> np.ndarray:
        filled = np.asarray(indices, np.uint8)[:, None, None, None]
        return np.broadcast_to(filled, (len(indices), 2, 2, 1))


def test_streams_and_arrays_are_split_alike():
    stream = Split(Counter(), np.arange(10, dtype=np.int32))
    array = Split(Counter().take(np.arange(10)), np.arange(10, dtype=np.int32))
    assert (stream.in_memory, array.in_memory) == (False, True)
    first, second = np.array([9, 3, 3, 7]), np.array([2, 0])
    for split in (stream, array):
        twice = split.subset(first).subset(second)
        assert len(twice) == 2
        assert twice.shape == (2, 2, 1)
        np.testing.assert_array_equal(twice.labels, [3, 9])
        np.testing.assert_array_equal(twice.take(np.array([1, 0, 1]))[:, 0, 0, 0], [9, 3, 9])
    assert isinstance(stream.subset(first).inputs, Subset)
    assert isinstance(stream.subset(first).inputs, InputSource)


PIXELS = np.zeros((4, 2, 2, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS, np.zeros(3, int), "4 images but 3 labels"),
        (PIXELS[:0], np.zeros(0, int), "no images"),
        (PIXELS[0, 0, 0], np.zeros(1, int), "must be .n, d., images .n, h, w."),
        (np.zeros((4, 0, 2, 1), np.uint8), np.zeros(4, int), "must be .n, d., images"),
        (PIXELS, np.zeros(4), "labels must be integers.*float64"),
        (PIXELS, np.eye(4, dtype=int), "labels must be integers of shape"),
        (PIXELS, np.array([0, 0, 0, 2**40]), "do not fit in 32 bits"),
    ],
)
def test_make_split_refuses(images, labels, message):
    with pytest.raises(UserError, match=rf"\Aplace: [^\n]*{message}[^\n]*\Z"):
        make_split("place", images, labels)


def test_make_split_adds_a_channel_and_flattens_a_column_of_labels():
    split = make_split("place", PIXELS[..., 0], np.array([[3], [1], [2], [0]], np.uint8))
    assert split.shape == (2, 2, 1)
    np.testing.assert_array_equal(split.labels, [3, 1, 2, 0])
    assert split.labels.dtype == np.int32


def test_labels_outside_are_counted():
    labels = np.array([-1, 0, 9, 10], np.int32)
    with pytest.raises(UserError, match=r"2 of 4 rows have labels outside 0\.\.9"):
        check_labels("place", labels, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "minst"}, "no data set named 'minst'.*cifar100.*Did you mean 'mnist'"),
        ({"name": "CIFAR10"}, "Did you mean 'cifar10'"),
        ({"name": "zzz"}, "there are digits, mnist.*npz"),
        ({"reader": "torch"}, "no reader named 'torch'; there are files, tfds"),
        ({"reader": "tfds"}, "digits is not read through tfds"),
        ({"validation_fraction": 0.0}, "validation_fraction must be above 0 and below 1, not 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must be above 0 and below 1, not 1.0"),
        ({"validation_fraction": float("nan")}, "not nan"),
        ({"validation_fraction": "a tenth"}, "above 0 and below 1, a number, not"),
        ({"validation_fraction": 1e-6}, "1e-06 of 1438 training rows leaves nothing"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, not -1"),
        ({"seed": 10**20}, "seed must be from 0"),
        ({"seed": 0.5}, "seed must be a whole number, not 0.5"),
        ({"image_size": 0}, "image_size must be from 1 to 4096 pixels, not 0"),
        ({"image_size": 10**6}, "image_size must be from 1 to 4096 pixels, not"),
        ({"data_dir": 5}, "data_dir must be a path or a string, not 5"),
        ({"data_dir": ""}, "data_dir is empty"),
        ({"data_dir": "~nobody-here/x"}, "no such home"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        load_dataset(**({"name": "digits"} | arguments))


@pytest.mark.parametrize("name", [name for name in DATASET_NAMES if name != "digits"])
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(UserError, match=r"nowhere[^\n]* does not exist"):
        load_dataset(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "svhn", "imagenet"])
def test_a_file_where_a_folder_is_wanted(name, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UserError, match=r"is not a directory"):
        load_dataset(name, tmp_path / "file")


@pytest.mark.parametrize("name", ["npz", "tsv", "imagenet"])
def test_sets_without_a_download_ask_for_data_dir(name):
    with pytest.raises(UserError, match="needs --data-dir"):
        load_dataset(name)


def test_a_disk_that_fails_is_a_user_error(tmp_path, monkeypatch):

    def fail(*_):
        raise PermissionError(13, "Permission denied", "train.bin")

    monkeypatch.setattr("gradmatch_jax.data.cifar.read_cifar", fail)
    with pytest.raises(UserError, match=r"cannot read cifar10: .*Permission denied"):
        load_dataset("cifar10", tmp_path)


def test_augmentation_follows_the_field():
    crops = {
        name: (round(spec.field.crop * 32), spec.field.flip) for name, spec in DATASETS.items()
    }
    assert crops == {
        "digits": (0, False),
        "mnist": (0, False),
        "cifar10": (4, True),
        "cifar100": (4, True),
        "svhn": (4, False),
        "imagenet": (0, True),  # and random resized crops
        "npz": (0, False),
        "tsv": (0, False),
    }


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("jax", "scipy", "PIL", "tensorflow_datasets", "sklearn", "grain")
    code = f"import gradmatch_jax.data, sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
