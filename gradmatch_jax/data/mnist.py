"""MNIST from its four original idx files, gzipped or not."""

import math
from pathlib import Path

import numpy as np

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.download import Remote, fetch
from gradmatch_jax.data.files import (
    cache_dir,
    gunzip,
    missing_message,
    originals,
    read_bytes,
    require_dir,
)
from gradmatch_jax.data.splits import Parts
from gradmatch_jax.errors import UserError

_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def read_mnist(data_dir: Path | None) -> Parts:
    """Read MNIST from `data_dir`, or from the cache after a download where it is None.

    Raises:
      UserError: if files are missing, damaged, or not idx files of unsigned bytes.
    """
    if data_dir is None:
        paths = _downloaded()
    else:
        paths = _find(require_dir(data_dir, "MNIST's four idx files"))
        originals({path: _MD5[path.name] for path in paths if path.name in _MD5}, _MIRROR)
    train_images, train_labels, test_images, test_labels = paths
    return Parts(
        train=make_split("MNIST train", read_idx(train_images, 3), read_idx(train_labels, 1)),
        test=make_split("MNIST test", read_idx(test_images, 3), read_idx(test_labels, 1)),
    )


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes with `ndim` axes, gzipped if its name ends in .gz.

    The format: two zero bytes, the type (8 for uint8), the number of axes, each axis's length
    as a big-endian uint32, then the bytes.

    Raises:
      UserError: if the gzip stream is damaged, the header wrong, or bytes are missing or left over.
    """
    raw = gunzip(path, _MIRROR) if path.suffix == ".gz" else read_bytes(path)
    magic = bytes([0, 0, 8, ndim])
    if raw[:4] != magic:
        raise UserError(
            f"{path} is not an idx file of {ndim}-d bytes: it starts with "
            f"{raw[:4].hex() or 'nothing'}, expected {magic.hex()}"
        )
    start = 4 + 4 * ndim
    if len(raw) < start:
        raise UserError(f"{path} is truncated: its header ends after {len(raw)} of {start} bytes")
    shape = tuple(int(length) for length in np.frombuffer(raw, ">u4", ndim, offset=4))
    expected = start + math.prod(shape)
    if len(raw) != expected:
        raise UserError(
            f"{path} holds {len(raw)} bytes, its header says {expected}; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _downloaded() -> list[Path]:
    directory = cache_dir("mnist")
    return [fetch(Remote(name, _MIRROR + name, md5), directory) for name, md5 in _MD5.items()]


def _find(directory: Path) -> list[Path]:
    found, missing = [], []
    for name in _MD5:
        candidates = [directory / name, directory / name.removesuffix(".gz")]
        path = next((path for path in candidates if path.is_file()), None)
        missing.append(name) if path is None else found.append(path)
    if missing:
        raise UserError(missing_message(directory, missing, _MIRROR))
    return found
