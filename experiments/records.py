"""What makes a figure count: its settings, versions, device, revision and time, as JSON lines."""

import json
import os
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradmatch_jax.measure.versions import device_name, versions
from gradmatch_jax.training.folder import finite


def stamp(
    args: Any, start: float, *, packages: Iterable[str] = (), **config: Any
) -> dict[str, Any]:
    """What a record carries beside its figures.

    Args:
        args: the command's settings, a dataclass; its paths are left out.
        start: when the work began, of `time.perf_counter`.
        packages: distributions whose versions count, beside the usual ones.
        config: further settings.

    Returns:
        config, versions, device, cores, revision, wall_seconds.
    """
    settings = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
    return {
        "config": settings | config,
        "versions": versions() | {name: version(name) for name in packages},
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "revision": revision(),
        "wall_seconds": time.perf_counter() - start,
    }


def revision() -> str:
    """The commit these figures come from, with a mark if the tree differs from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def append(results: Path, record: dict[str, Any]) -> None:
    """Add one JSON line."""
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(finite(record)) + "\n")


def read(results: Path) -> list[dict[str, Any]]:
    """The records, oldest first; none where there is no file.

    A line that another process has not written to its end is left out.
    """
    if not results.exists():
        return []
    whole = results.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line.strip()]
