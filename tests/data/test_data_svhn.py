"""SVHN from small .mat files in the original layout."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError


def small_svhn(directory: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Write train and test files: X (32, 32, 3, n) and y (n, 1) in 1..10."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, rows in (("train", 40), ("test", 20)):
        images = rng.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(rows) % 10
        columns = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        mat = {"X": images.transpose(1, 2, 3, 0), "y": columns} | changes
        savemat(directory / f"{part}_32x32.mat", mat, do_compression=True)
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    return arrays


def test_ten_means_zero_and_images_come_first(tmp_path):
    arrays = small_svhn(tmp_path)
    data = load_dataset("svhn", tmp_path)
    np.testing.assert_array_equal(data.test.inputs, arrays["x_test"])
    np.testing.assert_array_equal(data.test.labels, arrays["y_test"])
    labels = {x.tobytes(): y for x, y in zip(arrays["x_train"], arrays["y_train"], strict=True)}
    for part in (data.train, data.validation):
        for image, label in zip(part.inputs, part.labels, strict=True):
            assert labels.pop(image.tobytes()) == label
    assert not labels
    assert (data.prepare.crop_padding, data.prepare.flip) == (4, False)


def test_missing_file(tmp_path):
    small_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(UserError, match=r"lacks test_32x32.mat; get it from http"):
        load_dataset("svhn", tmp_path)


@pytest.mark.thorough
def test_damaged_files(tmp_path):
    small_svhn(tmp_path)
    path = tmp_path / "train_32x32.mat"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>" * 100, whole[:200] + whole[300:]):
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"\A[^\n]*train_32x32.mat is damaged or no .mat[^\n]*\Z"
        ):
            load_dataset("svhn", tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros((32, 32, 3), np.uint8)}, r"X must be \(32, 32, 3, n\)"),
        ({"y": np.ones((7, 1), np.uint8)}, "40 images but 7 labels"),
        ({"X": np.zeros((8, 8, 3, 40), np.uint8)}, r"images are \(8, 8, 3\)|40 images but 20"),
        ({"y": np.full((40, 1), 11, np.uint8)}, "labels outside|20 images but 40"),
    ],
)
def test_unfit_arrays(tmp_path, changes, message):
    small_svhn(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        load_dataset("svhn", tmp_path)


def test_the_full_numbers_version_lacks_x(tmp_path):
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"digitStruct": np.zeros(3)})
    with pytest.raises(UserError, match="lacks X or y; take the cropped digits"):
        load_dataset("svhn", tmp_path)
