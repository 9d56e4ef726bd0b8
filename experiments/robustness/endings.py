"""What a run came to, for comparison: everything but the time it took."""

import json
from pathlib import Path
from typing import Any

import numpy as np

TIMES = ("train_seconds", "selection_seconds", "compile_seconds", "joules", "seconds")


def ending(folder: Path) -> dict[str, Any]:
    """The log, the result and the selections that a finished run's folder holds, times apart."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    with np.load(folder / "selection.npz", allow_pickle=False) as file:
        selections = {name: file[name].tolist() for name in file.files}
    return {
        "log": [_untimed(json.loads(line)) for line in lines],
        "result": _untimed(json.loads((folder / "result.json").read_text())),
        "selections": selections,
    }


def _untimed(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs between two runs of the same."""
    return {
        name: _untimed(value) if isinstance(value, dict) else value
        for name, value in record.items()
        if name not in TIMES
    }
