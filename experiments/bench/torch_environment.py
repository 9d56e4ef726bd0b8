"""An environment and processes of its own for PyTorch and CORDS: neither enters ours.

CORDS sets `np.seterr(all="raise")` for the whole process, and the two libraries' thread pools get
in each other's way, so the other side is always a subprocess; arrays go and come as npz files.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from gradmatch_jax.errors import UserError

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "cords-requirements.txt"
CORDS = "cords==0.0.4"


def environment(folder: Path, base: Path | None = None) -> Path:
    """The Python of an environment with torch, SciPy and CORDS, made where it is not there yet.

    Args:
        folder: of the environment; some gigabytes.
        base: the Python it is made with; None takes the first python3.11 on PATH, else this one.

    Raises:
        UserError: it cannot be made.
    """
    python, finished = folder / "bin" / "python", folder / "finished"
    if finished.exists():
        return python
    found = base or shutil.which("python3.11") or sys.executable
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    for arguments in (
        [found, "-m", "venv", "--clear", folder],
        [*pip, "-r", REQUIREMENTS],
        [*pip, "--no-deps", CORDS],
    ):
        print(*arguments, flush=True)
        done = subprocess.run(
            [str(x) for x in arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"the environment {folder} could not be made ({last}); make one by hand with "
                f"{REQUIREMENTS.name} and `pip install --no-deps {CORDS}`, and name its python"
            )
    finished.touch()
    return python


def ask(
    python: Path, script: str, question: dict[str, Any], *, threads: int, timeout: float = 3600
) -> dict[str, Any]:
    """Run a script of this folder in the other environment: settings in, one line of JSON out.

    Raises:
        UserError: that Python cannot be run, or the script fails.
    """
    pinned = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [str(python), "-W", "ignore", str(HERE / script), json.dumps(question)],
            env=inherited | pinned, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{script} did not run in {python}: {error}") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{script} failed in {python}: {last}")
    return json.loads(lines[-1])


def pin(threads: int) -> None:
    """Keep this process, and those it starts, to so many cores; before JAX's first computation."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
