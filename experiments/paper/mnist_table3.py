"""MNIST, LeNet, 200 epochs, the paper's settings: every method at 1 % and 5 %, as in Table 3.

    python -m experiments.paper.mnist_table3 --data-dir FOLDER_OF_THE_IDX_FILES
    python -m experiments.paper.mnist_table3 --quick     # a rehearsal on the embedded digits

Resumable; start it once a core for several workers (see `experiments.runs`). Many hours on two
cores (full training alone takes 40 minutes a seed and comes last; `--order full` starts with it):
`--strategies`, `--fractions` and `--seeds` name a part of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.command import command, quickened
from experiments.runs import run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.sweep import Grid, Job, plan
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

    data_dir: Path | None = None
    dataset: str = "mnist"
    strategies: tuple[str, ...] = (*SUBSETS, *WHOLE)
    fractions: tuple[float, ...] = (0.01, 0.05)
    seeds: tuple[int, ...] = (0, 1, 2)
    weighting: Literal["own", "selection", "batch", "none"] = "own"
    """own: the strategies'. With another than the defaults of these four, give other --runs and
    --results too."""
    lam: float = 0.5
    """The matching problem's ridge penalty."""
    lam_scale: Literal["absolute", "relative"] = "absolute"
    model: str = "lenet"
    epochs: int | None = None
    """None: the paper's 200."""
    order: Literal["subsets", "full"] = "subsets"
    quick: bool = False
    """The embedded digits, a small network, three strategies and two epochs: a rehearsal."""
    runs: Path = Path("runs/mnist")
    results: Path = Path("results/mnist_table3.jsonl")


QUICK = {
    "dataset": "digits", "strategies": ("random", "gradmatch-pb-warm", "full"), "seeds": (0,),
    "model": "mlp", "epochs": 2, "fractions": (0.05,), "runs": Path("runs/quick/mnist"),
}  # fmt: skip


def jobs(args: Table3) -> list[Job]:
    """The runs, the cheap fractions first, each once."""
    base = TrainConfig(
        dataset=args.dataset,
        data_dir=args.data_dir,
        model=args.model,
        weighting=args.weighting,
        lam=args.lam,
        lam_scale=args.lam_scale,
        epochs=args.epochs,
    )
    whole = [(1.0, tuple(name for name in WHOLE if name in args.strategies))]
    names = tuple(name for name in args.strategies if name not in WHOLE)
    subsets = [(fraction, names) for fraction in args.fractions]
    parts = whole + subsets if args.order == "full" else subsets + whole
    grids = [Grid(base, strategies, (fraction,), args.seeds) for fraction, strategies in parts]
    return [job for grid in grids for job in plan(grid, args.runs)]


def main(args: Table3) -> None:
    """Run the grid."""
    args = quickened(args, **QUICK) if args.quick else args
    if args.data_dir is None and args.dataset == "mnist":
        raise UserError("--data-dir is missing: name MNIST's folder, or rehearse with --quick")
    run_all(jobs(args), args.results)


if __name__ == "__main__":
    command(main, Table3)
