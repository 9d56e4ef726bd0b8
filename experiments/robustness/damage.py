"""Run folders damaged in every file: the same result as undamaged, or one line that says so.

    python -m experiments.robustness.damage            # about 700 damaged folders, 20 minutes
    python -m experiments.robustness.damage --quick

A run that was stopped half-way and one that is finished are copied, one file of the copy is cut,
emptied, removed, doubled, replaced by other bytes or given one flipped bit, and the run is taken up
again. What may come of it: the ending of a run left alone, or a `UserError` of one line. A JSON
line goes to --results; the exit status is 1 if anything else came of one.
"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.command import command, quickened
from experiments.records import append, stamp
from experiments.robustness.endings import ending
from gradmatch_jax.errors import Stopped, UserError
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.files import finite
from gradmatch_jax.training.loop import train

CONFIG = TrainConfig(
    strategy="gradmatch", fraction=0.05, epochs=6, select_every=2, model="logistic", eval_every=2,
    checkpoint_seconds=0,
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """How many damaged folders to take up."""

    share: float = 1.0
    """Of all damages, evenly spread."""
    seed: int = 0
    quick: bool = False
    """A tenth of them."""
    results: Path = Path("results/damage.jsonl")


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit the other way."""
    if not content:
        return b"\0"
    place, bit = int(rng.integers(len(content))), int(rng.integers(8))
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes | None]] = {
    "empty": lambda content, rng: b"",
    "cut": lambda content, rng: content[: len(content) // 2],
    "last byte gone": lambda content, rng: content[:-1],
    "removed": lambda content, rng: None,
    "doubled": lambda content, rng: content + content,
    "zeros": lambda content, rng: bytes(len(content)),
    "noise": lambda content, rng: rng.bytes(len(content)),
    "flipped bit": flipped,
    "another flipped bit": flipped,
}


def main(args: Damage) -> int:
    """Damage and take up; the exit status."""
    args = quickened(args, share=0.1) if args.quick else args
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = list(take_up_damaged(Path(folder), args))
    counts = Counter(outcome for *_, outcome, _ in outcomes)
    wrong = [line for line in outcomes if line[3] not in ("same", "refused")]
    record = {"damages": len(outcomes), "outcomes": dict(counts), "wrong": wrong}
    append(args.results, record | stamp(args, start))
    for line in wrong:
        Console().print(line)
    Console().print(f"{len(outcomes)} damaged folders: {dict(counts)}")
    return int(bool(wrong))


def take_up_damaged(folder: Path, args: Damage) -> Iterator[tuple[str, str, str, str, str]]:
    """(which run, file, damage, what came of it, what was said) of each."""
    train(CONFIG, folder / "alone")
    wanted = finite(ending(folder / "alone"))
    stop_half_way(folder / "stopped")
    cases = [
        (run, file.relative_to(folder / run), name)
        for run in ("stopped", "alone")
        for file in sorted((folder / run).rglob("*"))
        if file.is_file() and file.name != ".lock"
        for name in DAMAGES
    ]
    step = max(1, round(1 / args.share))
    for i, (run, name, damage) in enumerate(cases[::step]):
        copy = folder / "copy"
        shutil.copytree(folder / run, copy)
        content = (copy / name).read_bytes()
        made = DAMAGES[damage](content, np.random.default_rng((args.seed, i)))
        if made is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(made)
        yield (run, str(name), damage, *outcome(copy, wanted))
        shutil.rmtree(copy)


def stop_half_way(folder: Path) -> None:
    """A run that was asked to stop after its fourth epoch."""
    rows: list[dict[str, Any]] = []
    try:
        train(
            CONFIG, folder, on_epoch=lambda row, total: rows.append(row),
            stop=lambda: len(rows) >= 4,
        )  # fmt: skip
    except Stopped:
        return


def outcome(folder: Path, wanted: dict[str, Any]) -> tuple[str, str]:
    """What comes of a folder that is taken up, and what is said."""
    try:
        train(CONFIG, folder)
    except UserError as error:
        return ("refused" if "\n" not in str(error) else "many lines"), str(error)
    except Exception as error:  # what this is here to find
        return "traceback", f"{type(error).__name__}: {error}"
    found = finite(ending(folder))
    differ = [name for name in wanted if found[name] != wanted[name]]
    return ("different" if differ else "same"), " ".join(differ)


if __name__ == "__main__":
    command(main, Damage)
