"""SVHN, cropped digits, from its two original .mat files."""

from pathlib import Path
from typing import Any

import numpy as np

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.download import Remote, fetch
from gradmatch_jax.data.files import (
    MOST_BYTES,
    cache_dir,
    originals,
    require_dir,
    require_files,
)
from gradmatch_jax.data.mat import load_mat, read_mats
from gradmatch_jax.data.splits import Parts, Split
from gradmatch_jax.errors import UserError

_SITE = "http://ufldl.stanford.edu/housenumbers/"
_MD5 = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}


def read_svhn(data_dir: Path | None) -> Parts:
    """Read SVHN from `data_dir`, or from the cache after a download where it is None.

    The files number the classes 1..10 with 10 for the digit 0, which becomes 0 here.

    Raises:
      UserError: if files are missing, damaged, or without the arrays X and y.
    """
    if data_dir is None:
        cache = cache_dir("svhn")
        paths = [fetch(Remote(name, _SITE + name, md5), cache) for name, md5 in _MD5.items()]
        same = set(paths)
    else:
        directory = require_dir(data_dir, " and ".join(_MD5))
        paths = require_files(directory, tuple(_MD5), _SITE)
        large = [path for path in paths if path.stat().st_size > MOST_BYTES]
        if large:
            raise UserError(f"{large[0]} is larger than {MOST_BYTES} bytes; get it from {_SITE}")
        same = originals({path: _MD5[path.name] for path in paths}, _SITE)
    names = ("X", "y")
    if same == set(paths):
        read = [load_mat(path, names) for path in paths]
    else:
        read = read_mats(paths, names, _SITE)
    train, test = (_split(path, arrays) for path, arrays in zip(paths, read, strict=True))
    return Parts(train, test)


def _split(path: Path, arrays: dict[str, Any]) -> Split:
    if "X" not in arrays or "y" not in arrays:
        raise UserError(f"{path} lacks X or y; take the cropped digits, {path.name}, from {_SITE}")
    images, labels = arrays["X"], arrays["y"]
    if images.ndim != 4:
        raise UserError(f"{path}: X must be (32, 32, 3, n), not {images.shape}")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return make_split(str(path), images, np.where(labels == 10, 0, labels))
