"""MNIST: the real files, the idx format, and the download into the cache."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset, mnist
from gradmatch_jax.data.mnist import read_idx
from gradmatch_jax.errors import UserError

NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def small_mnist(directory: Path, *, zipped: bool = True, side: int = 28) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        NAMES[0]: rng.integers(0, 256, (40, side, side), dtype=np.uint8),
        NAMES[1]: np.arange(40) % 10,
        NAMES[2]: rng.integers(0, 256, (10, side, side), dtype=np.uint8),
        NAMES[3]: np.arange(10),
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if zipped:
            (directory / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (directory / name).write_bytes(idx(array))
    return arrays


def test_the_real_mnist(shared_data):
    data = load_dataset("mnist", shared_data / "mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (54000, 6000, 10000)
    # the published class counts
    counts = np.bincount(data.train.labels) + np.bincount(data.validation.labels)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_allclose(np.bincount(data.validation.labels), counts / 10, atol=1)
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert isinstance(data.train.inputs, np.ndarray)
    assert isinstance(data.validation.inputs, np.ndarray)
    pixels = np.concatenate([data.train.inputs, data.validation.inputs])
    assert data.prepare.mean == (round(pixels.mean() / 255, 4),)
    assert data.prepare.std == (round(pixels.std() / 255, 4),)
    assert data.train.shape == (28, 28, 1)


@pytest.mark.parametrize("zipped", [True, False])
def test_small_files_come_back(tmp_path, zipped):
    arrays = small_mnist(tmp_path, zipped=zipped)
    data = load_dataset("mnist", tmp_path)
    np.testing.assert_array_equal(data.test.take(np.arange(10))[..., 0], arrays[NAMES[2]])
    both = {image.tobytes() for part in (data.train, data.validation) for image in part.inputs}
    assert both == {image.tobytes() for image in arrays[NAMES[0]]}
    for image, label in zip(data.train.inputs, data.train.labels, strict=True):
        row = next(i for i, a in enumerate(arrays[NAMES[0]]) if np.array_equal(a, image[..., 0]))
        assert arrays[NAMES[1]][row] == label


def test_missing_files_are_named_with_their_source(tmp_path):
    small_mnist(tmp_path)
    (tmp_path / f"{NAMES[1]}.gz").unlink()
    (tmp_path / f"{NAMES[2]}.gz").unlink()
    with pytest.raises(UserError, match=rf"lacks {NAMES[1]}.gz, {NAMES[2]}.gz; get it from http"):
        load_dataset("mnist", tmp_path)


def test_the_folder_below_is_suggested(tmp_path):
    small_mnist(tmp_path / "mnist")
    with pytest.raises(UserError, match=r"did you mean --data-dir \S*mnist\?"):
        load_dataset("mnist", tmp_path)


GOOD = idx(np.arange(12).reshape(3, 2, 2))
# Without the time of day: the content is in the tests' names, on which xdist's workers must agree.
GZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.gz", GZIPPED[:-12], "a.gz is truncated or damaged"),
        ("a.gz", GZIPPED[:14] + b"\xff" * 20, "a.gz is truncated or damaged"),
        ("a.gz", GOOD, "a.gz is truncated or damaged .Not a gzipped file"),
        ("a", idx(np.arange(3)), "not an idx file of 3-d bytes: it starts with 00000801"),
        ("a", b"", "starts with nothing, expected 00000803"),
        ("a", b"<html>", "starts with 3c68746d"),
        ("a", GOOD[:9], "truncated: its header ends after 9 of 16"),
        ("a", GOOD[:-1], "holds 27 bytes, its header says 28"),
        ("a", GOOD + b"\0", "holds 29 bytes, its header says 28"),
        ("a", b"\0\0\x08\x03" + b"\xff" * 12, "holds 16 bytes, its header says"),
    ],
)
def test_damaged_idx_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        read_idx(tmp_path / name, 3)


def test_wrong_size_and_labels(tmp_path):
    small_mnist(tmp_path, side=20)
    with pytest.raises(UserError, match=r"images are \(20, 20, 1\), expected \(28, 28, 1\)"):
        load_dataset("mnist", tmp_path)
    small_mnist(tmp_path)
    labels = np.arange(40) % 10
    labels[:3] = 77
    (tmp_path / f"{NAMES[1]}.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(UserError, match=r"mnist train: 3 of 40 rows have labels outside 0\.\.9"):
        load_dataset("mnist", tmp_path)


def test_the_md5s_are_those_of_the_original_files(shared_data):
    for name, md5 in mnist._MD5.items():
        assert hashlib.md5((shared_data / "mnist" / name).read_bytes()).hexdigest() == md5
