"""A set of one's own: one .npz file of plain arrays."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.files import one_line, require_file
from gradmatch_jax.data.splits import Parts, Split
from gradmatch_jax.errors import UserError

_WANTS = "one .npz file with x_train (n, ...), y_train, x_test and y_test"


def read_npz(path: Path | None) -> Parts:
    """Read `x_train`, `y_train`, `x_test`, `y_test` and, where given, `x_val` and `y_val`.

    What x is, its type and shape say (`checks.make_split`): uint8 (n, h, w) or (n, h, w, c) are
    images, divided by 255; floats of these shapes are images as they are; floats of any other
    shape are rows of numbers; wider integers (n, length) are token ids, 0 the padding, words from
    1. Labels are integers (n,), 0..C-1. Pickled (object) arrays are refused: reading one would run
    code out of the file.

    Raises:
      UserError: if the file is missing or no .npz, or its arrays are missing or unfit.
    """
    if path is None:
        raise UserError(f"npz needs --data-dir: the path of {_WANTS}")
    require_file(path, _WANTS)
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a complete .npz file; expected {_WANTS}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys = ["x_train", "y_train", "x_test", "y_test"]
            keys += [key for key in ("x_val", "y_val") if key in stored.files]
            if len(keys) == 5:
                raise UserError(
                    f"{path} has {keys[-1]} alone; give both x_val and y_val or neither"
                )
            missing = [key for key in keys if key not in stored.files]
            if missing:
                has = ", ".join(stored.files) or "nothing"
                raise UserError(f"{path} lacks {', '.join(missing)}; it has {has}")
            arrays = {key: _array(path, stored, key) for key in keys}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); write it again") from error

    def split(part: str) -> Split:
        where = f"{path} x_{part}, y_{part}"
        return make_split(where, arrays[f"x_{part}"], arrays[f"y_{part}"])

    return Parts(split("train"), split("test"), split("val") if len(keys) == 6 else None)


def _array(path: Path, stored, key: str) -> np.ndarray:
    try:
        return stored[key]
    except ValueError as error:  # object arrays, and headers numpy cannot read
        raise UserError(
            f"{path}: cannot read {key} ({one_line(error)}); store plain numeric arrays, "
            "sequences padded with 0 to one length"
        ) from error
