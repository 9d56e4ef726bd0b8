"""MNIST, LeNet, the paper's settings: what a selection costs, and what cheaper ones lose.

    python -m experiments.bench.mnist --study speedup --data-dir FOLDER_OF_THE_IDX_FILES
    python -m experiments.bench.mnist --study pool --data-dir FOLDER
    python -m experiments.bench.mnist --study fill --data-dir FOLDER
    python -m experiments.bench.mnist --quick     # a rehearsal on the embedded digits

- speedup: the warm forms that the paper times, with and without a pool, beside full training;
- pool: accuracy and time where a selection looks at a tenth, a fifth, half or all of the data;
- fill: how the weights are made: the match's own, calibrated, or by how even they are (steady).

Resumable; start it once a core, each pinned to one (taskset): times are compared, so leave the
rest of the machine alone. `--fractions`, `--pools`, `--strategies` and `--seeds` name a part of a
study, `--fill` another fill than random. The tables:
`python -m experiments.paper table results/mnist_STUDY.jsonl`. Of another data set:
`--dataset cifar10 --epochs 60 --data-dir FOLDER`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.command import command, quickened
from experiments.runs import run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.solvers.options import Fill
from gradmatch_jax.sweep import Grid, Job, plan
from gradmatch_jax.training.config import TrainConfig

POOLS = ({"pool": 0.1}, {"pool": 0.2}, {"pool": 0.5}, {"pool": 1.0})
STUDIES: dict[str, dict[str, Any]] = {
    "speedup": {
        "strategies": ("gradmatch-pb-warm", "gradmatch-warm", "full"),
        "fractions": (0.01, 0.05, 0.1, 0.2, 0.3),
        "variants": ({"pool": 1.0}, {"pool": 0.1}, {"pool": 0.2}, {"pool": 0.5}),
        "fill": "random",
    },
    "pool": {
        "strategies": ("gradmatch", "gradmatch-pb", "gradmatch-per-class", "craig"),
        "fractions": (0.01, 0.1),
        "variants": POOLS,
        "fill": "random",
    },
    "fill": {
        "strategies": ("gradmatch",),
        "fractions": (0.01, 0.05, 0.1, 0.3),
        "variants": ({"fill": "random"}, {"fill": "calibrated"}, {"fill": "steady"}),
    },
}


@dataclass(frozen=True)
class Mnist:
    """Which study, and which part of it."""

    study: Literal["speedup", "pool", "fill"] = "speedup"
    data_dir: Path | None = None
    dataset: str = "mnist"
    strategies: tuple[str, ...] = ()
    """None named: all of the study's."""
    fractions: tuple[float, ...] = ()
    """None named: all of the study's."""
    pools: tuple[float, ...] = ()
    """None named: all of the study's."""
    fill: Fill | None = None
    """None: the match's own weights (random), or all of the study's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    model: str = "lenet"
    epochs: int | None = None
    """None: the paper's 200."""
    quick: bool = False
    """The embedded digits, a small network, one fraction and two epochs: a rehearsal."""
    runs: Path = Path("runs")
    """The runs go to RUNS/STUDY."""
    results: Path = Path("results")
    """The records go to RESULTS/DATASET_STUDY.jsonl."""


QUICK = {
    "dataset": "digits", "fractions": (0.1,), "seeds": (0,), "model": "mlp", "epochs": 2,
    "runs": Path("runs/quick"),
}  # fmt: skip


def jobs(args: Mnist) -> list[Job]:
    """The study's runs, by fraction and seed: a part that was stopped has whole comparisons."""
    study = STUDIES[args.study]
    base = TrainConfig(
        dataset=args.dataset, data_dir=args.data_dir, model=args.model, epochs=args.epochs
    )
    fill = args.fill or study.get("fill")
    base = base if fill is None else replace(base, fill=fill)
    strategies = args.strategies or study["strategies"]
    parts = [
        Grid(base, strategies, (fraction,), (seed,), variants_of(study, fraction))
        for seed in args.seeds
        for fraction in args.fractions or study["fractions"]
    ]
    known = [variant["pool"] for variant in study["variants"] if "pool" in variant]
    if args.fill is not None and "fill" in study["variants"][0]:
        parts = [replace(grid, variants=({"fill": args.fill},)) for grid in parts]
    if unknown := [pool for pool in args.pools if pool not in known]:
        raise UserError(f"--pools {unknown[0]:g} is none of the study's: {known or 'it has none'}")
    if args.pools:
        parts = [replace(grid, variants=_of_pools(grid.variants, args.pools)) for grid in parts]
    found = [job for grid in parts for job in plan(grid, args.runs / args.study)]
    return list({job.folder: job for job in found}.values())


def variants_of(study: dict[str, Any], fraction: float) -> tuple[dict[str, Any], ...]:
    """Pools under twice the budget are brought to that: of these the largest stands for all."""
    variants: tuple[dict[str, Any], ...] = study["variants"]
    least = [v for v in variants if v.get("pool", 1.0) <= 2 * fraction]
    return tuple(v for v in variants if v not in least[:-1])


def _of_pools(
    variants: tuple[Mapping[str, Any], ...], pools: tuple[float, ...]
) -> tuple[Mapping[str, Any], ...]:
    return tuple(v for v in variants if v.get("pool", 1.0) in pools)


def main(args: Mnist) -> None:
    """Run the study."""
    args = quickened(args, **QUICK) if args.quick else args
    if args.data_dir is None and args.dataset == "mnist":
        raise UserError("--data-dir is missing: name MNIST's folder, or rehearse with --quick")
    name = "mnist" if args.quick else args.dataset
    run_all(jobs(args), args.results / f"{name}_{args.study}.jsonl")


if __name__ == "__main__":
    command(main, Mnist)
