"""Steps, passes and selections on one device beside another commit's, in one run.

    python -m experiments.bench.beside --revision a6f9fca

The other commit is unpacked into a temporary folder, and each side is a process of its own on the
same cores. A third is a twin of this tree's: what it differs by is what this measurement cannot
tell. All have compiled before anything is timed; then they are asked in short turns, each turn
forwards and backwards (here, there, twin, twin, there, here), so that what else the machine does,
and who comes first, falls on all alike. That is done by several sets of processes, for one of them
may lie badly in memory for as long as it lives, and each set begins with another side, for the
first to be started and asked may take longer, whichever tree it has.

A ratio is the median of the turns' own ratios, above 1 where this tree is slower: of the wall
clock's seconds, and of the processor's, which other work on the same core stretches less. The
interval is its 95 % of a bootstrap over the sets and their turns.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.torch_environment import pin
from experiments.command import command, quickened, show
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
    sets: int = 6
    """Sets of processes: a multiple of three, so that each side comes first as often."""
    turns: int = 6
    """Of a set, for every work."""
    turn_seconds: float = 0.1
    """What a side does in a turn is repeated for so long, about."""
    quick: bool = False
    """A few images, once: a rehearsal."""
    results: Path = Path("results/beside.jsonl")


QUICK = {"works": ("steps", "per-class"), "images": 200, "sets": 1, "turns": 2}
NAMES = ("here", "there", "twin")
CLOCKS = ("wall", "cpu")


def main(args: Beside) -> None:
    """Ask all sides for every work in turn."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records = time.perf_counter(), []
    pin(args.threads)
    seconds: dict[str, list[Any]] = {work: [] for work in args.works}
    with tempfile.TemporaryDirectory() as folder:
        unpack(args.revision, Path(folder))
        trees: dict[str, Path] = dict(zip(NAMES, (ROOT, Path(folder), ROOT), strict=True))
        for place in range(args.sets):
            order = NAMES[place % len(NAMES) :] + NAMES[: place % len(NAMES)]
            with started({name: trees[name] for name in order}, args.images) as sides:
                for work in args.works:
                    seconds[work].append(in_turns(sides, work, args))
                    print(work, "set", len(seconds[work]), flush=True)
    for work, measured in seconds.items():
        records.append(compared(work, measured))
        append(args.results, records[-1] | stamp(args, start))
    show(rich_table(COLUMNS, records, title=f"Beside {args.revision}"))


def in_turns(sides: "dict[str, Side]", work: str, args: Beside) -> list[list[list[float]]]:
    """Seconds of a work by clock, turn and side, each side asked twice a turn."""
    for side in sides.values():
        side.ask(work, 1)  # compiles
    longest = max(side.ask(work, 1)[0] for side in sides.values())
    times = max(1, round(args.turn_seconds / longest))
    turns = []
    for _ in range(args.turns):
        asked = [*sides, *reversed(sides)]
        took = [(name, sides[name].ask(work, times)) for name in asked]
        turns.append([np.mean([t for n, t in took if n == name], axis=0) for name in NAMES])
    by_clock: Any = np.moveaxis(np.asarray(turns), 2, 0)  # (turns, sides, clocks) so far
    return by_clock.tolist()


def compared(work: str, seconds: list[Any]) -> dict[str, Any]:
    """Medians of all sides, and the ratios of this tree to the other and to its twin.

    Args:
        work: its name.
        seconds: by set, clock, turn and side.

    >>> turn = [2.0, 4.0, 2.0]
    >>> found = compared("steps", [[[turn, turn], [turn, [2.0, 4.0, 1.0]]]])
    >>> found["cpu_ratio"], found["cpu_ratio_interval"], found["cpu_twin"], found["here"]
    (0.5, [0.5, 0.5], 1.5, 2.0)
    """
    each = np.asarray(seconds)
    record: dict[str, Any] = {"work": work}
    record |= dict(zip(NAMES, np.median(each[:, 0], axis=(0, 1)).tolist(), strict=True))
    for clock, name in enumerate(CLOCKS):
        for other, label in ((1, "ratio"), (2, "twin")):
            ratios = each[:, clock, :, 0] / each[:, clock, :, other]
            record[f"{name}_{label}"] = float(np.median(ratios))
            record[f"{name}_{label}_interval"] = interval(ratios)
    return record | {"all": seconds}


def interval(ratios: np.ndarray, draws: int = 2000) -> list[float]:
    """95 % of the median's, of sets drawn with replacement and of turns drawn within each."""
    rng, (sets, turns) = np.random.default_rng(0), ratios.shape
    drawn = rng.integers(0, sets, (draws, sets, 1)), rng.integers(0, turns, (draws, sets, turns))
    medians = np.median(ratios[drawn].reshape(draws, -1), axis=1)
    return np.quantile(medians, (0.025, 0.975)).tolist()


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
    """A process with one of the trees."""

    def __init__(self, tree: Path, images: int):
        self._process = subprocess.Popen(
            [sys.executable, str(SIDE), str(images)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(tree)}, cwd=tree,
        )  # fmt: skip

    def ask(self, work: str, times: int) -> tuple[float, float]:
        """The seconds that it took, on the wall's clock and the processor's, of one time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(work, times, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise UserError(f"{work}: a side's process ended; see above")
        wall, cpu = json.loads(line)
        return wall / times, cpu / times

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


@contextmanager
def started(trees: dict[str, Path], images: int):
    """A process for each tree, until the end of the block."""
    sides = {name: Side(tree, images) for name, tree in trees.items()}
    try:
        yield sides
    finally:
        for side in sides.values():
            side.end()


def _both(ends: list[float]) -> str:
    return "{:.3f} to {:.3f}".format(*ends)


COLUMNS = fields(
    work="{}", here="{:.4f}", there="{:.4f}", wall_ratio="{:.3f}", wall_twin="{:.3f}",
    cpu_ratio="{:.3f}", cpu_ratio_interval=_both, cpu_twin="{:.3f}", cpu_twin_interval=_both,
)  # fmt: skip


if __name__ == "__main__":
    command(main, Beside)
