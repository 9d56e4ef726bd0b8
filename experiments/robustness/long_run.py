"""A tiny run of very many epochs: memory stays flat, the log and the checkpoints bounded.

    python -m experiments.robustness.long_run          # 10,000 epochs, some minutes
    python -m experiments.robustness.long_run --quick

The process's resident memory is read every tenth of the run; after the first tenth, which compiles,
it may grow by what the log's lines take. A JSON line goes to --results.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.command import command, quickened
from experiments.records import append, stamp
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train


@dataclass(frozen=True)
class LongRun:
    """How long a run."""

    epochs: int = 10_000
    select_every: int = 50
    quick: bool = False
    """A fiftieth of it."""
    results: Path = Path("results/long_run.jsonl")


def main(args: LongRun) -> None:
    """Train, and say how memory and files grew."""
    args = quickened(args, epochs=200, select_every=5) if args.quick else args
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        record = grown(args, Path(folder) / "run")
    append(args.results, record | stamp(args, start))
    Console().print(record)


def grown(args: LongRun, folder: Path) -> dict[str, Any]:
    """Memory over the run, and what its folder holds at the end, in bytes."""
    config = TrainConfig(
        strategy="gradmatch", fraction=0.02, epochs=args.epochs, select_every=args.select_every,
        model="logistic", eval_every=1000, checkpoint_seconds=5,
    )  # fmt: skip
    memory: list[int] = []

    def on_epoch(row: dict[str, Any], total: int) -> None:
        if (row["epoch"] + 1) % max(1, total // 10) == 0:
            memory.append(resident())

    train(config, folder, on_epoch=on_epoch)
    files = [p for p in folder.rglob("*") if p.is_file()]
    sizes = {p: p.stat().st_size for p in files}
    checkpoints = folder / "checkpoints"
    return {
        "memory": memory,
        "memory_per_epoch": (memory[-1] - memory[0]) / (0.9 * args.epochs),
        "log": sizes[folder / "metrics.jsonl"],
        "checkpoints": len(list(checkpoints.iterdir())),
        "checkpoint_bytes": sum(n for p, n in sizes.items() if checkpoints in p.parents),
        "folder_bytes": sum(sizes.values()),
    }


def resident() -> int:
    """The process's resident memory in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    command(main, LongRun)
