"""Runs killed with -9 before each kind of file operation they do, and taken up again.

    python -m experiments.robustness.kills            # about 90 kills, half an hour on a core
    python -m experiments.robustness.kills --quick

For each kind of run: one is left alone, and what it does in its folder is listed: opening the log,
making and renaming a checkpoint, removing an older one, writing the selection and the result.
Another is killed before each of these in turn, at its first, second or third occurrence, and
started again. In the end both must be the same to the last bit: networks, selections, log and
result, times apart. A JSON line a kind goes to --results; the exit status is 1 if one differs.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from experiments.robustness.endings import ending
from gradmatch_jax.report.tables import rich_table

COMMON = {"model": "logistic", "epochs": 30, "checkpoint_seconds": 0, "eval_every": 4}
SELECTS = {"select_every": 3, "fraction": 0.1}
MATCHES = SELECTS | {"strategy": "gradmatch"}
KINDS: dict[str, dict[str, Any]] = {
    "gram": MATCHES | {"strategy": "gradmatch-per-class", "form": "gram"},
    "features": MATCHES | {"form": "features"},
    "support": MATCHES | {"form": "support", "fraction": 0.05, "fill": "calibrated"},
    "signed": MATCHES | {"nonnegative": False},
    "warm": MATCHES | {"strategy": "gradmatch-warm", "epochs": 60},
    "batches": SELECTS | {"strategy": "gradmatch-pb"},
    "pool": MATCHES | {"pool": 0.5, "fraction": 0.05},
    "validation": MATCHES | {"validation_target": True},
    "glister": SELECTS | {"strategy": "glister", "greedy": "stochastic"},
    "craig-batches": SELECTS | {"strategy": "craig-pb"},
    # One pool for the whole run, over two networks' scores.
    "proxies": {"strategy": "el2n", "proxy_epochs": 5, "proxy_runs": 2, "pool": 0.5},
    "pruning": {"strategy": "infobatch"},
    # Dropout: its keys are part of what is restored.
    "dropout": {"strategy": "adaptive-random", "fraction": 0.05, "model": "mnistnet"},
}
FINISH = ("selection.npz", "result.json", " seal.json")


@dataclass(frozen=True)
class Kills:
    """Which runs to kill."""

    kinds: tuple[str, ...] = tuple(KINDS)
    most: int = 7
    """Kills of a kind at most; the moments are thinned out."""
    quick: bool = False
    """One kind and a few kills."""
    results: Path = Path("results/kills.jsonl")


def main(args: Kills) -> int:
    """Kill and resume every kind; the exit status."""
    args = quickened(args, kinds=("signed",), most=6) if args.quick else args
    records = []
    for kind in args.kinds:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            record = kill_and_resume(kind, Path(folder), args.most)
        records.append(record)
        append(args.results, record | stamp(args, start, kind=kind))
    show(rich_table(COLUMNS, records, title="Killed with -9 and taken up again"))
    return int(any(record["differ"] for record in records))


def kill_and_resume(kind: str, folder: Path, most: int) -> dict[str, Any]:
    """How often a run of a kind was killed, and which parts of its ending then differ."""
    settings = COMMON | KINDS[kind]
    done = start_victim(settings, folder / "alone", folder / "alone.npz")
    assert done.returncode == 0, done.stderr
    wanted = (ending(folder / "alone"), arrays(folder / "alone.npz"))
    kills, differ, out, fresh = [], [], folder / "killed0", 0
    for i, moment in enumerate(thinned(json.loads(done.stdout.splitlines()[-1]), most)):
        nth = 1 if is_last(moment) else 1 + i % 3
        done = start_victim(settings, out, folder / "ended.npz", moment, str(nth))
        if done.returncode == -signal.SIGKILL:
            kills.append(f"{moment} ({nth})")
            continue
        # It came to its end first: compared, and the next moments meet a run from its start.
        differ += compare(done, out, folder / "ended.npz", wanted)
        fresh += 1
        out = folder / f"killed{fresh}"
    done = start_victim(settings, out, folder / "ended.npz")
    differ += compare(done, out, folder / "ended.npz", wanted)
    finishing = sum(is_last(moment.rsplit(" (", 1)[0]) for moment in kills)
    return {
        "kind": kind, "kills": len(kills), "in_finish": finishing, "differ": differ,
        "moments": kills,
    }  # fmt: skip


def is_last(moment: str) -> bool:
    """Whether a moment is of a run's end."""
    return any(name in moment for name in FINISH) and "checkpoints" not in moment


def thinned(seen: Sequence[str], most: int) -> list[str]:
    """The kinds of moments, at most so many: the last ones, of the end, last."""
    kinds = list(dict.fromkeys(seen))
    last = [moment for moment in kinds if is_last(moment)]
    rest = [moment for moment in kinds if not is_last(moment)]
    room = max(most - len(last), most // 2)
    picks = np.unique(np.linspace(0, len(rest) - 1, min(room, len(rest))).astype(int))
    return [rest[i] for i in picks] + last[: most - len(picks)]


def start_victim(settings: dict[str, Any], *words: Any) -> "subprocess.CompletedProcess[str]":
    """One process; it ends or is killed."""
    program = [sys.executable, "-m", "experiments.robustness.victim", json.dumps(settings)]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*program, *map(str, words)], capture_output=True, text=True, check=False, cwd=root,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def arrays(file: Path) -> list[np.ndarray]:
    """The leaves of a run's last state."""
    with np.load(file, allow_pickle=False) as stored:
        return [stored[name] for name in stored.files]


def compare(done: "subprocess.CompletedProcess[str]", out: Path, file: Path, wanted) -> list[str]:
    """Which parts of a run's ending are not those of the run that was left alone."""
    if done.returncode != 0:
        return [f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"]
    found = ending(out)
    differ = [name for name in wanted[0] if found[name] != wanted[0][name]]
    same = [
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(arrays(file), wanted[1], strict=True)
    ]
    return differ + (["state"] if not all(same) else [])


COLUMNS = fields(kind="{}", kills="{}", in_finish="{}", differ=lambda differ: str(differ or "no"))


if __name__ == "__main__":
    command(main, Kills)
