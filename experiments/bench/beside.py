"""Steps, passes and selections on one device beside another commit's, in one run.

    python -m experiments.bench.beside --revision a6f9fca

The other commit is unpacked into a temporary folder, and each side is a process of its own on the
same cores. Both have compiled before anything is timed; then they are asked in turn, so that what
else the machine does falls on both alike. The ratio is of medians: above 1 this tree is slower.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.bench.torch_environment import pin
from experiments.command import command, quickened
from experiments.records import append, fields, stamp
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.tables import rich_table

ROOT = Path(__file__).resolve().parents[2]
SIDE = Path(__file__).with_name("beside_side.py")


@dataclass(frozen=True)
class Beside:
    """Which commit, and how often."""

    revision: str = "HEAD~1"
    """The commit to compare with."""
    works: tuple[str, ...] = ("steps", "pass", "per-class", "per-batch", "craig", "glister")
    images: int = 6000
    threads: int = 1
    repeats: int = 7
    quick: bool = False
    """A few images, once: a rehearsal."""
    results: Path = Path("results/beside.jsonl")


QUICK = {"works": ("steps", "per-class"), "images": 200, "repeats": 1}


def main(args: Beside) -> None:
    """Ask both sides for every work in turn."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records = time.perf_counter(), []
    pin(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        unpack(args.revision, Path(folder))
        sides = {"here": Side(ROOT, args.images), "there": Side(Path(folder), args.images)}
        for work in args.works:
            for side in sides.values():
                side.ask(work)  # compiles
            seconds: dict[str, list[float]] = {name: [] for name in sides}
            for turn in range(args.repeats):
                for name in sorted(sides, reverse=bool(turn % 2)):
                    seconds[name].append(sides[name].ask(work))
            records.append(compared(work, seconds))
            append(args.results, records[-1] | stamp(args, start))
        for side in sides.values():
            side.end()
    Console().print(rich_table(COLUMNS, records, title=f"Beside {args.revision}"))


def compared(work: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians of both sides and their ratio.

    >>> compared("steps", {"here": [3.0, 1.0, 2.0], "there": [4.0, 4.0, 1.0]})["ratio"]
    0.5
    """
    here, there = (statistics.median(seconds[name]) for name in ("here", "there"))
    return {"work": work, "here": here, "there": there, "ratio": here / there, "all": seconds}


def unpack(revision: str, folder: Path) -> None:
    """A commit's package in a folder.

    Raises:
        UserError: there is no such commit here.
    """
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, "gradmatch_jax"], capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise UserError(f"--revision {revision}: {said}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True)


class Side:
    """A process with one of the two trees."""

    def __init__(self, tree: Path, images: int):
        self._process = subprocess.Popen(
            [sys.executable, str(SIDE), str(images)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(tree)}, cwd=tree,
        )  # fmt: skip

    def ask(self, work: str) -> float:
        """The seconds that it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(work, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise UserError(f"{work}: the process of the other side ended; see above")
        return float(json.loads(line))

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


COLUMNS = fields(work="{}", here="{:.4f}", there="{:.4f}", ratio="{:.3f}")


if __name__ == "__main__":
    command(main, Beside)
