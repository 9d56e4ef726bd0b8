"""Run a grid of training runs, resumable and shared by several processes.

Each run has a folder under --runs, where a killed one resumes; finished runs are appended as one
JSON line to --results and never run again. Several workers on one machine take runs from the same
grid: pin each to its own cores (taskset) and start the same command twice.
"""

import dataclasses
import fcntl
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.records import append, revision
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.config import NOT_IDENTITY, TrainConfig, resolve, to_json


@dataclass(frozen=True)
class Sweep:
    """A grid of strategies x fractions x seeds over one base configuration."""

    base: TrainConfig
    strategies: tuple[str, ...]
    fractions: tuple[float, ...] = (0.01, 0.05)
    seeds: tuple[int, ...] = (0, 1, 2)
    runs: Path = Path("runs")
    results: Path = Path("results/sweep.jsonl")

    def configs(self) -> Iterator[TrainConfig]:
        """The runs, each once: full training does not depend on the fraction."""
        seen = set()
        for seed, fraction, name in itertools.product(self.seeds, self.fractions, self.strategies):
            config = resolve(
                dataclasses.replace(self.base, strategy=name, fraction=fraction, seed=seed)
            )
            if config not in seen:
                seen.add(config)
                yield config


def run_name(config: TrainConfig) -> str:
    """The folder of a run."""
    warm = "-warm" if config.warm else ""
    return f"{config.dataset}-{config.strategy}{warm}-{config.fraction:g}-seed{config.seed}"


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold `path` as a lock for the block; False where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def sweep(grid: Sweep) -> None:
    """Run what is not finished yet; skip what another worker is running."""
    from gradmatch_jax.training.loop import train

    for config in grid.configs():
        folder = grid.runs / run_name(config)
        with claim(grid.runs / f"{folder.name}.lock") as mine:
            if not mine or finished(grid.results, folder.name, config):
                continue
            start = time.time()
            result = train(config, folder)
            record = {
                "run": folder.name,
                "config": to_json(dataclasses.replace(config, data_dir=None)),
                "revision": revision(),
                "wall_seconds": time.time() - start,
                "cores": len(os.sched_getaffinity(0)),
                "curve": [
                    [row["epoch"], row["train_seconds"] + row["selection_seconds"],
                     row["test_accuracy"]]
                    for row in result.log if "test_accuracy" in row
                ],
            }  # fmt: skip
            append(grid.results, record | result.summary)
            print(folder.name, result.summary["test_accuracy"], flush=True)


def finished(results: Path, name: str, config: TrainConfig) -> bool:
    """Whether `results` has a record of the run.

    Settings that the record does not have are of a later revision, and do not count.

    Raises:
        UserError: the record of that name is of other settings.
    """
    lines = results.read_text().splitlines() if results.exists() else []
    stored = [r["config"] for r in map(json.loads, lines) if r["run"] == name]
    now = {k: v for k, v in to_json(config).items() if k not in NOT_IDENTITY}
    for then in stored:
        other = [f"{k} {then[k]}, not {v}" for k, v in now.items() if then.get(k, v) != v]
        if other:
            raise UserError(
                f"{results} has a {name} with {'; '.join(other)}: give other --runs and --results"
            )
    return bool(stored)


if __name__ == "__main__":
    sys.exit(sweep(tyro.cli(Sweep)))
