"""What makes a figure count: its settings, versions, device, revision and time, as JSON lines."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradmatch_jax.errors import UserError
from gradmatch_jax.measure.versions import device_name, versions
from gradmatch_jax.report.tables import Column
from gradmatch_jax.training.files import finite


def stamp(
    args: Any, start: float, *, packages: Iterable[str] = (), **config: Any
) -> dict[str, Any]:
    """What a record carries beside its figures.

    Args:
        args: the command's settings, a dataclass, or their values by name; paths are left out.
        start: when the work began, of `time.perf_counter`.
        packages: distributions whose versions count, beside the usual ones.
        config: further settings.

    Returns:
        config, versions, device, cores, revision, wall_seconds; allocator where $GLIBC_TUNABLES set
        it, which changes seconds.
    """
    values = args if isinstance(args, Mapping) else vars(args)
    settings = {k: v for k, v in values.items() if not isinstance(v, Path)}
    return {
        "config": settings | config,
        "versions": versions() | {name: version(name) for name in packages},
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "revision": revision(),
        "wall_seconds": time.perf_counter() - start,
    } | ({"allocator": os.environ[ALLOCATOR]} if os.environ.get(ALLOCATOR) else {})


REVISION = "GRADMATCH_REVISION"
ALLOCATOR = "GLIBC_TUNABLES"


def revision() -> str:
    """The commit these figures come from, with a mark if the tree differs from it.

    A copy without its history, on a GPU host say, is told by $GRADMATCH_REVISION.
    """
    if told := os.environ.get(REVISION):
        return told
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def append(results: Path, record: dict[str, Any]) -> None:
    """Add one JSON line, on a line of its own.

    What a killed process or an editor left without a line's end before it is ended if it is a
    record, and cut off if it is half of one.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("ab+", buffering=0) as file:  # one write: no worker sees half of another's
        file.seek(0)
        whole, _, last = file.read().rpartition(b"\n")
        ended = b""
        if last:
            try:
                json.loads(last)
                ended = b"\n"
            except ValueError:
                file.truncate(len(whole) + 1 if whole else 0)
        file.write(ended + json.dumps(finite(record)).encode() + b"\n")


def read(results: Path) -> list[dict[str, Any]]:
    """The records, oldest first; none where there is no file.

    A last line that another process has not written to its end is left out.

    Raises:
        UserError: a line that is no record, named by its number.
    """
    if not results.exists():
        return []
    lines = results.read_bytes().split(b"\n")
    found = []
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_refused)
            if not isinstance(record, dict):
                raise ValueError("no JSON object")
        except ValueError as error:
            if i == len(lines) - 1:
                break
            raise UserError(
                f"{results}:{i + 1} is no record ({error}); take that line out"
            ) from error
        found.append(record)
    return found


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def fields(**forms: str | Callable[[Any], str]) -> list[Column[dict[str, Any]]]:
    r"""A console table's columns of records, one a field, with its format; names are broken.

    >>> [column.heading for column in fields(k="{}", speed_up="{:.1f}")]
    ['k', 'speed\nup']
    >>> [column.cell({"k": 3}) for column in fields(k="{}", speed_up="{:.1f}")]
    ['3', '–']
    """

    def column(name: str, form: str | Callable[[Any], str]) -> Column[dict[str, Any]]:
        return Column(name.replace("_", "\n"), lambda record: record.get(name), form)

    return [column(name, form) for name, form in forms.items()]
