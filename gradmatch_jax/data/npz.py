"""A set of one's own: one .npz file of plain arrays."""

from pathlib import Path

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.files import require_file
from gradmatch_jax.data.npy import read_arrays
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
    keys = ("x_train", "y_train", "x_test", "y_test")
    arrays = read_arrays(path, str(path), keys, optional=("x_val", "y_val"))
    if len(arrays) == 5:
        alone = "x_val" if "x_val" in arrays else "y_val"
        raise UserError(f"{path} has {alone} alone; give both x_val and y_val or neither")

    def split(part: str) -> Split:
        where = f"{path} x_{part}, y_{part}"
        return make_split(where, arrays[f"x_{part}"], arrays[f"y_{part}"])

    return Parts(split("train"), split("test"), split("val") if "x_val" in arrays else None)
