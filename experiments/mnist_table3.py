"""MNIST, LeNet, 200 epochs, the paper's settings: Table 3 at 1 % and 5 %.

    python -m experiments.mnist_table3 --data-dir FOLDER_OF_THE_IDX_FILES

Resumable; start it once a core for several workers (see `experiments.sweep`). Hours on two cores:
full training is three quarters of it and comes last (`--order full` starts with it).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.sweep import Sweep, sweep
from gradmatch_jax.config import TrainConfig

SUBSETS = (
    "random", "adaptive-random", "gradmatch", "gradmatch-pb", "random-warm",
    "adaptive-random-warm", "gradmatch-warm", "gradmatch-pb-warm",
)  # fmt: skip


@dataclass(frozen=True)
class Table3:
    """What to run, and where the data is."""

    data_dir: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    order: Literal["subsets", "full"] = "subsets"
    runs: Path = Path("runs/mnist")
    results: Path = Path("results/mnist_table3.jsonl")


def main(args: Table3) -> None:
    """Run the grid, the cheap fractions first."""
    base = TrainConfig(dataset="mnist", data_dir=args.data_dir)
    subsets = [(fraction, SUBSETS) for fraction in (0.01, 0.05)]
    full = [(1.0, ("full",))]
    for fraction, strategies in full + subsets if args.order == "full" else subsets + full:
        sweep(Sweep(base, strategies, (fraction,), args.seeds, args.runs, args.results))


if __name__ == "__main__":
    main(tyro.cli(Table3))
