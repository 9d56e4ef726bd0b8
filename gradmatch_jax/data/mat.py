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

import numpy as np

from gradmatch_jax.data.files import one_line
from gradmatch_jax.data.npy import is_plain, read_arrays

_SECONDS = 120  # SVHN's larger file takes 3
_MOST_MEMORY = 3 << 30  # bytes; it takes 1 GB


def read_mat(path: Path, names: Sequence[str], *, original: bool) -> dict[str, np.ndarray]:
    """Those of the arrays `names` that the file has.

    original: whether a checksum says that the file is a known one, which is read in this process

    Raises:
      ValueError: what is wrong with the file, in one line.
    """
    if original:
        return _load(path, names)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        # -P and PYTHONPATH: the child imports what this process would.
        command = [sys.executable, "-P", "-m", __name__, str(path.absolute()), str(out), *names]
        paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"no end of it after {_SECONDS} s") from error
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip()
            raise ValueError(said or f"SciPy's reader died of it, status {done.returncode}")
        return read_arrays(out, str(path), (), optional=names)


def _load(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
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


def main(path: str, out: str, *names: str) -> int:
    """The child: read, write, or say on stdout what is wrong."""
    _bound()
    try:
        arrays = _load(Path(path), names)
        np.savez(out, **arrays)  # type: ignore[arg-type]
    except Exception as error:  # scipy raises a dozen types on damaged files
        print(one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
