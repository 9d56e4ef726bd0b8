"""Arrays of a .mat file, read in a process of its own.

SciPy's reader can end the interpreter on a damaged file (16 of 1,443 did), or allocate what a
header says. In a child with bounded memory and time that is one line; the arrays come back
as .npz.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradmatch_jax.data.files import one_line
from gradmatch_jax.data.npy import is_plain, read_arrays
from gradmatch_jax.errors import UserError

_SECONDS = 120  # SVHN's larger file takes 3
_MOST_MEMORY = 3 << 30  # bytes; it takes 1 GB


def read_mats(paths: Sequence[Path], names: Sequence[str], source: str) -> list[dict[str, Any]]:
    """Of each file, those of the arrays `names` that it has; all files in one child.

    source: where the files can be had

    Raises:
      UserError: if a file is damaged, holds no plain numbers, or takes too long or too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        # -P and PYTHONPATH: the child imports what this process would.
        command = [sys.executable, "-P", "-m", __name__, folder, ",".join(names)]
        entries = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            done = subprocess.run(
                [*command, *(str(path.absolute()) for path in paths)],
                env=os.environ | {"PYTHONPATH": entries, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
            said = done.stdout.decode(errors="replace").strip()
            said = said or f"SciPy's reader died of it, status {done.returncode}"
        except subprocess.TimeoutExpired:
            said = f"no end of it after {_SECONDS} s"
        outs = [Path(folder) / f"{i}.npz" for i in range(len(paths))]
        # Files are read in order, and what is written is whole.
        lost = [path for path, out in zip(paths, outs, strict=True) if not out.exists()]
        if lost:
            raise UserError(f"{lost[0]} is damaged or no .mat file ({said}); get it from {source}")
        read = zip(outs, paths, strict=True)
        return [read_arrays(out, str(path), (), optional=names) for out, path in read]


def load_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The same of one file in this process: only for one whose checksum is known."""
    from scipy.io import loadmat  # a second of import that only this needs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = loadmat(path, variable_names=list(names), appendmat=False)
    arrays = {name: found[name] for name in names if name in found}
    for name, array in arrays.items():
        if not is_plain(array):
            raise ValueError(f"{name} holds no plain numbers")
    return arrays


def _bound() -> None:
    with contextlib.suppress(ImportError):  # Windows has no such bounds
        import resource

        for limit, most in ((resource.RLIMIT_AS, _MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
            hard = resource.getrlimit(limit)[1]
            low = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (low, hard))


def main(folder: str, names: str, *paths: str) -> int:
    """The child: a file for each path, or a line on stdout on what is wrong with the next."""
    _bound()
    try:
        for i, path in enumerate(paths):
            part = Path(folder) / f"{i}.part"
            with part.open("wb") as file:
                np.savez(file, **load_mat(Path(path), names.split(",")))
            part.rename(part.with_suffix(".npz"))
    except Exception as error:  # scipy raises a dozen types on damaged files
        print(one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
