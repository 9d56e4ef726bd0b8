"""The default comparison with nothing compiled before, and again: what a newcomer waits for.

    python -m experiments.bench.comparison

Each call is the command itself, `gradmatch-jax compare`, in a process of its own and with a folder
of its own for its runs. The first finds an empty cache, the others what that has compiled. Seconds
are of the clock on the wall, from the command to its end, and beside them those of the cores.
Installing and downloading are not in them.
"""

import json
import os
import resource
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.command import command, quickened
from experiments.first_hour import OURS, FirstHour, Step, typed
from experiments.records import append, stamp
from gradmatch_jax.commands.compare import RECORD


@dataclass(frozen=True)
class Comparison:
    """How often it is called."""

    again: int = 3
    """Calls after the first."""
    quick: bool = False
    """Two epochs of one strategy: a rehearsal."""
    results: Path = Path("results/comparison.jsonl")


def main(args: Comparison) -> None:
    """Call it, and append the record."""
    args = quickened(args, again=1) if args.quick else args
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        calls = [called(folder, f"{number}", args) for number in range(args.again + 1)]
    found = [call.pop("accuracies") for call in calls]
    record: dict[str, Any] = {"first": calls[0], "again": calls[1:], "runs": len(found[0])}
    record["same_accuracies"] = all(each == found[0] for each in found)
    record["load"] = os.getloadavg()[2]  # of 15 minutes: whether others were at work
    append(args.results, record | stamp(args, start))


def called(folder: Path, name: str, args: Comparison) -> dict[str, Any]:
    """One call: its seconds, and the accuracies of its runs.

    Raises:
        UserError: it failed; with the last that it said.
    """
    step = Step("bash", f"{OURS} compare --out {shlex.quote(str(folder / name))}")
    cores = _of_the_cores()
    seconds = typed(step, folder, folder, FirstHour(own=True, quick=args.quick))["seconds"]
    cores = _of_the_cores() - cores
    runs = json.loads((folder / name / "digits" / RECORD).read_text("utf-8"))["runs"]
    accuracies = [run["test_accuracy"] for run in runs]
    return {"seconds": seconds, "cpu_seconds": cores, "accuracies": accuracies}


def _of_the_cores() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    command(main, Comparison)
