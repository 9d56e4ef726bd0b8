"""CIFAR: the real CIFAR-10, and small files in the original binary format."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.cifar import CIFAR10, CIFAR100, Layout
from gradmatch_jax.errors import UserError
from toys import LONG


@pytest.mark.thorough
@LONG
def test_the_real_cifar10(shared_data, tmp_path):
    tool = shared_data.parent / "tools" / "unpack_data.py"
    subprocess.run([sys.executable, tool, "cifar10", tmp_path], check=True)
    data = load_dataset("cifar10", tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (45000, 5000, 10000)
    assert np.bincount(data.train.labels).tolist() == [4500] * 10
    assert np.bincount(data.validation.labels).tolist() == [500] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    # the published test set opens with a cat, two ships and an aeroplane
    names = [data.class_names[label] for label in data.test.labels[:4]]
    assert names == ["cat", "ship", "ship", "airplane"]
    assert (data.prepare.crop_padding, data.prepare.flip) == (4, True)
    with np.load(tmp_path / "cifar10.npz") as stored:
        np.testing.assert_array_equal(data.test.inputs, stored["x_test"])
        pixels = stored["x_train"].reshape(-1, 3)
    values = np.arange(256)
    # the field's constants are those of the whole training set, to their four digits
    # (red's 0.24703 and its like are given as 0.2470; 1e-4 covers rounding either way)
    for channel, (mean, std) in enumerate(zip(data.prepare.mean, data.prepare.std, strict=True)):
        share = np.bincount(pixels[:, channel], minlength=256) / len(pixels)
        found = share @ values
        assert abs(found / 255 - mean) < 1e-4
        assert abs(np.sqrt(share @ (values - found) ** 2) / 255 - std) < 1e-4


def rows(layout: Layout, images: np.ndarray, labels: np.ndarray) -> bytes:
    """Write rows the way the format's page says: label byte(s), then 1024 red, green, blue."""
    out = b""
    for image, label in zip(images, labels, strict=True):
        coarse = b"\x13" if layout.label_bytes == 2 else b""  # 19: never a right answer here
        planes = b"".join(image[:, :, channel].tobytes() for channel in range(3))
        out += coarse + bytes([label]) + planes
    return out


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=lambda layout: layout.name)
def layout(request) -> Layout:
    return request.param


def small_files(layout: Layout) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """Return the .bin files of 50 training and 10 test images, and what should be read."""
    rng = np.random.default_rng(0)
    classes = len(layout.class_names)
    arrays = {
        "x_train": rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8),
        "y_train": np.arange(50) % classes,
        "x_test": rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
        "y_test": np.arange(10) + classes - 10,
    }
    pieces = np.array_split(np.arange(50), len(layout.train))
    files = {
        name: rows(layout, arrays["x_train"][piece], arrays["y_train"][piece])
        for name, piece in zip(layout.train, pieces, strict=True)
    }
    files[layout.test] = rows(layout, arrays["x_test"], arrays["y_test"])
    return files, arrays


def archive(layout: Layout, files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        folder = tarfile.TarInfo(layout.folder)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in {"batches.meta.txt": b"names", **files}.items():
            member = tarfile.TarInfo(f"{layout.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def write(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def check(layout: Layout, data_dir: Path, arrays: dict[str, np.ndarray]) -> None:
    data = load_dataset(layout.name, data_dir)
    np.testing.assert_array_equal(data.test.inputs, arrays["x_test"])
    np.testing.assert_array_equal(data.test.labels, arrays["y_test"])
    labels = {image.tobytes(): label for image, label in zip(*pair(arrays), strict=True)}
    for part in (data.train, data.validation):
        for image, label in zip(part.inputs, part.labels, strict=True):
            assert labels.pop(image.tobytes()) == label
    assert not labels
    assert data.num_classes == len(data.class_names) == len(layout.class_names)


def pair(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return arrays["x_train"], arrays["y_train"]


def test_every_form_reads_the_same(layout, tmp_path):
    files, arrays = small_files(layout)
    if layout is CIFAR100:  # one row a class gives no validation set: use the last ten classes
        arrays["y_train"] = 90 + np.arange(50) % 10
        files[layout.train[0]] = rows(layout, *pair(arrays))
    check(layout, write(tmp_path / "tar", {layout.archive.name: archive(layout, files)}), arrays)
    check(layout, write(tmp_path / "flat", files), arrays)
    write(tmp_path / "nested" / layout.folder, files)
    check(layout, tmp_path / "nested", arrays)
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz" / f"{layout.name}.npz", **arrays)
    check(layout, tmp_path / "npz", arrays)
    check(layout, tmp_path / "npz" / f"{layout.name}.npz", arrays)


def test_cifar100_names_are_the_fine_ones_in_order():
    names = CIFAR100.class_names
    assert len(set(names)) == 100
    assert names == tuple(sorted(names))
    assert (names[0], names[53], names[99]) == ("apple", "orange", "worm")


def test_pickles_are_refused(layout, tmp_path):
    for place, name in [("a", layout.pickles[0]), ("b", layout.pickles[1])]:
        (tmp_path / place / name).mkdir(parents=True)
        with pytest.raises(UserError, match=rf"{name} holds Python pickles.*{layout.archive.name}"):
            load_dataset(layout.name, tmp_path / place)
    with pytest.raises(UserError, match="holds Python pickles"):
        load_dataset(layout.name, tmp_path / "b" / layout.pickles[1])


def test_nothing_there(layout, tmp_path):
    wanted = f"lacks {layout.archive.name} or {layout.name}.npz; get it from https"
    with pytest.raises(UserError, match=wanted):
        load_dataset(layout.name, tmp_path)


def test_a_missing_batch_is_named(layout, tmp_path):
    files, _ = small_files(layout)
    del files[layout.train[-1]]
    write(tmp_path / "flat", files)
    with pytest.raises(UserError, match=rf"flat lacks {layout.train[-1]}; get it from"):
        load_dataset(layout.name, tmp_path / "flat")
    write(tmp_path / "tar", {layout.archive.name: archive(layout, files)})
    with pytest.raises(UserError, match=rf"tar.gz lacks {layout.train[-1]}; get it from"):
        load_dataset(layout.name, tmp_path / "tar")


def test_truncated_files(layout, tmp_path):
    files, _ = small_files(layout)
    whole = archive(layout, files)
    for content in (whole[: len(whole) // 2], b"not a tar", b"", whole[:100] + whole[150:]):
        write(tmp_path / "tar", {layout.archive.name: content})
        with pytest.raises(UserError, match=r"\A[^\n]*truncated or damaged [^\n]*fetch it again"):
            load_dataset(layout.name, tmp_path / "tar")
    files[layout.test] = files[layout.test][:-1]
    write(tmp_path / "flat", files)
    with pytest.raises(UserError, match=rf"{layout.test} is truncated: \d+ bytes"):
        load_dataset(layout.name, tmp_path / "flat")


def test_labels_outside_are_counted(tmp_path):
    files, arrays = small_files(CIFAR10)
    arrays["y_test"][:4] = 10
    files[CIFAR10.test] = rows(CIFAR10, arrays["x_test"], arrays["y_test"])
    with pytest.raises(UserError, match=r"cifar10 test: 4 of 10 rows have labels outside 0\.\.9"):
        load_dataset("cifar10", write(tmp_path, files))


def test_an_empty_file_is_no_training_set(tmp_path):
    files = dict.fromkeys((*CIFAR10.train, CIFAR10.test), b"")
    with pytest.raises(UserError, match="no images"):
        load_dataset("cifar10", write(tmp_path, files))
