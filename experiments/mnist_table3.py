"""MNIST, LeNet, 200 epochs, the paper's settings: every method at 1 % and 5 %, as in Table 3.

    python -m experiments.mnist_table3 --data-dir FOLDER_OF_THE_IDX_FILES

Resumable; start it once a core for several workers (see `experiments.sweep`). Many hours on two
cores (full training alone takes 40 minutes a seed and comes last; `--order full` starts with it):
`--strategies`, `--fractions` and `--seeds` name a part of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.sweep import Sweep, sweep
from gradmatch_jax.training.config import TrainConfig

# The paper's Table 3, what it leaves out, and what practitioners would pick today.
SUBSETS = (
    "random", "adaptive-random", "gradmatch", "gradmatch-pb", "random-warm",
    "adaptive-random-warm", "gradmatch-warm", "gradmatch-pb-warm", "gradmatch-per-class",
    "gradmatch-per-class-warm", "craig", "craig-warm", "craig-pb", "craig-pb-warm", "glister",
    "glister-warm", "full-earlystop", "full-earlystop-fitted", "el2n-warm", "grand-warm",
    "forgetting-warm", "entropy-warm", "facility-location-warm", "el2n", "grand", "forgetting",
    "entropy", "facility-location",
)  # fmt: skip
WHOLE = ("full", "infobatch")  # no fraction: the former once, the latter at its own


@dataclass(frozen=True)
class Table3:
    """What to run, and where the data is."""

    data_dir: Path
    strategies: tuple[str, ...] = (*SUBSETS, *WHOLE)
    fractions: tuple[float, ...] = (0.01, 0.05)
    seeds: tuple[int, ...] = (0, 1, 2)
    weighting: Literal["selection", "batch"] | None = None
    """None: the strategies' own. With another than the defaults of these four, give other --runs
    and --results too."""
    lam: float = 0.5
    """The matching problem's ridge penalty."""
    lam_scale: Literal["absolute", "relative"] = "absolute"
    model: str = "lenet"
    order: Literal["subsets", "full"] = "subsets"
    runs: Path = Path("runs/mnist")
    results: Path = Path("results/mnist_table3.jsonl")


def main(args: Table3) -> None:
    """Run the grid, the cheap fractions first."""
    base = TrainConfig(
        dataset="mnist",
        data_dir=args.data_dir,
        model=args.model,
        weighting=args.weighting,
        lam=args.lam,
        lam_scale=args.lam_scale,
    )
    whole = [(1.0, tuple(name for name in WHOLE if name in args.strategies))]
    names = tuple(name for name in args.strategies if name not in WHOLE)
    subsets = [(fraction, names) for fraction in args.fractions]
    for fraction, strategies in whole + subsets if args.order == "full" else subsets + whole:
        sweep(Sweep(base, strategies, (fraction,), args.seeds, args.runs, args.results))


if __name__ == "__main__":
    main(tyro.cli(Table3))
