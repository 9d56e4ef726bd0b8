"""A small valid set for every reader, on disk: what the fuzzer damages."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradmatch_jax.data.cifar import CIFAR10, CIFAR100, Layout

ROWS, TEST = 40, 20
_rng = np.random.default_rng


class Sample(NamedTuple):
    """A set's files, and how to read them.

    dataset: the name `load_dataset` knows, or "select"
    path: the file or folder to read, under the sample's folder
    checked: names of the files that carry a checksum: damaged, they give an error or the same data
    """

    dataset: str
    files: Mapping[str, bytes]
    path: str = "."
    checked: tuple[str, ...] = ()


def samples() -> dict[str, Sample]:
    """Every reader's, by name; those that need a package that is absent are left out."""
    made = {
        "mnist": _mnist(zipped=True),
        "mnist-idx": _mnist(zipped=False),
        "cifar10": _cifar(CIFAR10, zipped=True),
        "cifar10-bins": _cifar(CIFAR10, zipped=False),
        "cifar100": _cifar(CIFAR100, zipped=True),
        "npz": _npz(np.savez),
        "npz-compressed": _npz(np.savez_compressed),
        "cifar10-npz": _cifar_npz(),
        "select": _select(),
        "tsv": _tsv(),
        "svhn": _svhn(),
    }
    pillow = {"jpeg": _pictures("JPEG"), "png": _pictures("PNG")} if _has_pillow() else {}
    return made | pillow


def write(sample: Sample, folder: Path) -> Path:
    """Write the files; returns what to read."""
    for name, content in sample.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / sample.path


def _images(side: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (ROWS + TEST, side, side, channels)
    return _rng(0).integers(0, 256, shape, np.uint8), np.arange(ROWS + TEST) % 10


def _idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


def _mnist(*, zipped: bool) -> Sample:
    images, labels = _images(28, 1)
    images, labels = images[..., 0], labels.astype(np.uint8)
    files = {
        "train-images-idx3-ubyte": _idx(images[:ROWS]),
        "train-labels-idx1-ubyte": _idx(labels[:ROWS]),
        "t10k-images-idx3-ubyte": _idx(images[ROWS:]),
        "t10k-labels-idx1-ubyte": _idx(labels[ROWS:]),
    }
    if not zipped:
        return Sample("mnist", files)
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}
    return Sample("mnist", packed, checked=tuple(packed))


def _cifar(layout: Layout, *, zipped: bool) -> Sample:
    images, labels = _images(32, 3)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    heads = np.repeat(labels[:, None], layout.label_bytes, axis=1).astype(np.uint8)
    rows = np.concatenate([heads, planes], axis=1)
    pieces = np.array_split(rows[:ROWS], len(layout.train))
    files = {name: bytes(piece) for name, piece in zip(layout.train, pieces, strict=True)}
    files[layout.test] = bytes(np.ascontiguousarray(rows[ROWS:]))
    if not zipped:
        return Sample(layout.name, files)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{layout.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    packed = gzip.compress(out.getvalue(), mtime=0)
    name = layout.archive.name
    return Sample(layout.name, {name: packed}, checked=(name,))


def _bytes_of(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def _parts(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    return {"x_train": x[:ROWS], "y_train": y[:ROWS], "x_test": x[ROWS:], "y_test": y[ROWS:]}


def _npz(save: Callable[..., None]) -> Sample:
    x = _rng(0).normal(size=(ROWS + TEST, 30)).round(2)
    content = _bytes_of(save, **_parts(x, np.arange(ROWS + TEST) % 3))
    return Sample("npz", {"own.npz": content}, "own.npz", ("own.npz",))


def _cifar_npz() -> Sample:
    content = _bytes_of(np.savez, **_parts(*_images(32, 3)))
    return Sample("cifar10", {"cifar10.npz": content}, checked=("cifar10.npz",))


def _select() -> Sample:
    rng = _rng(0)
    content = _bytes_of(
        np.savez,
        logits=rng.normal(size=(ROWS, 3)).astype(np.float32),
        features=rng.normal(size=(ROWS, 5)).astype(np.float32),
        labels=np.arange(ROWS) % 3,
    )
    return Sample("select", {"in.npz": content}, "in.npz", ("in.npz",))


def _tsv() -> Sample:
    lines = [f"{'ab'[i % 2]}\tthe {i} words of text\u00e9 {i % 3}\n" for i in range(ROWS)]
    text = "".join(lines).encode()
    return Sample("tsv", {"own.train.tsv": b"label\ttext\n" + text, "own.test.tsv": text})


def _svhn() -> Sample:
    from scipy.io import savemat

    images, labels = _images(32, 3)
    files = {}
    for name, rows in (("train", slice(0, ROWS)), ("test", slice(ROWS, None))):
        out = io.BytesIO()
        ten = np.where(labels[rows] == 0, 10, labels[rows]).astype(np.uint8)[:, None]
        savemat(out, {"X": images[rows].transpose(1, 2, 3, 0), "y": ten}, do_compression=True)
        files[f"{name}_32x32.mat"] = out.getvalue()
    return Sample("svhn", files)


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


def _pictures(kind: str) -> Sample:
    from PIL import Image

    files = {}
    for part, count in (("train", 4), ("val", 1)):
        for label in range(2):
            for i in range(count):
                pixels = _rng((label, i)).integers(0, 256, (24, 30, 3), np.uint8)
                out = io.BytesIO()
                Image.fromarray(pixels).save(out, kind)
                files[f"{part}/c{label}/{i}.{kind.lower()}"] = out.getvalue()
    return Sample("imagenet", files, checked=tuple(files) if kind == "PNG" else ())
