"""What makes a figure count: its settings, versions, device and revision, as JSON lines."""

import json
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradmatch_jax.measure.versions import device_name, versions
from gradmatch_jax.training.folder import finite


def stamp(args: Any, *, packages: Iterable[str] = (), **config: Any) -> dict[str, Any]:
    """The record's head: the experiment's settings (its paths aside) and `config`, and versions of
    the usual packages and `packages`."""
    settings = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
    return {
        "config": settings | config,
        "versions": versions() | {name: version(name) for name in packages},
        "device": device_name(),
        "revision": revision(),
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
