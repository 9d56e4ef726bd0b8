"""Where the seconds between two selections go: the pass, the solver, and the training they are for.

    taskset -c 0 python -m experiments.bench.run_profile --data-dir FOLDER_OF_THE_IDX_FILES

A network trains on a random tenth first. Then, for every strategy, fraction and pool, what a run
does in one interval, by itself: the forward pass that the strategy reads (with a pool, over that
share), its selection from it, and `select_every` epochs on what it chose. A warm start has half as
many selections for the same training. Medians after a first call, compilation apart.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.data import Dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.selection.ranking import draw
from gradmatch_jax.training.build import load, prepare
from gradmatch_jax.training.config import RunConfig, TrainConfig, resolve
from gradmatch_jax.training.examples import examples_of
from gradmatch_jax.training.passes import run_epoch
from gradmatch_jax.training.schedule import budget_of
from gradmatch_jax.training.snapshot import take_snapshot
from gradmatch_jax.training.state import Run


@dataclass(frozen=True)
class Profile:
    """What is taken apart."""

    dataset: str = "mnist"
    data_dir: Path | None = None
    strategies: tuple[str, ...] = ("gradmatch", "gradmatch-pb", "craig", "glister")
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.3)
    pools: tuple[float, ...] = (1.0, 0.2)
    """Shares of the data that a selection looks at."""
    trained: int = 10
    """Epochs on a random tenth before anything is timed."""
    repeats: int = 3
    seed: int = 0
    quick: bool = False
    """The embedded digits, one strategy: a rehearsal."""
    results: Path = Path("results/profile.jsonl")


QUICK = {
    "dataset": "digits", "strategies": ("gradmatch",), "fractions": (0.1,), "pools": (1.0,),
    "trained": 1, "repeats": 1,
}  # fmt: skip


def main(args: Profile) -> None:
    """Every strategy at every fraction with every pool."""
    args = quickened(args, **QUICK) if args.quick else args
    if args.data_dir is None and args.dataset != "digits":
        raise UserError(f"--data-dir is missing: name {args.dataset}'s folder, or rehearse --quick")
    records: list[dict[str, Any]] = []
    learner = None
    for config in configurations(args):
        start = time.perf_counter()
        dataset = load(config)
        run, state = prepare(config, dataset)
        if learner is None:
            learner = trained(run, dataset, args.trained)
        parts = interval(run, state._replace(networks={"model": learner}), config, args.repeats)
        names = {"strategy": config.strategy, "fraction": config.fraction, "pool": config.pool}
        records.append(names | parts)
        append(args.results, records[-1] | stamp(args, start))
    show(rich_table(COLUMNS, records, title="Seconds of an interval between selections"))


def configurations(args: Profile) -> Iterator[RunConfig]:
    """Resolved; a pool of less than twice the budget would be brought to that, and is left out."""
    for strategy in args.strategies:
        for fraction in args.fractions:
            for pool in args.pools:
                if pool >= 2 * fraction:
                    config = TrainConfig(
                        dataset=args.dataset, data_dir=args.data_dir, strategy=strategy,
                        fraction=fraction, pool=pool, seed=args.seed,
                    )  # fmt: skip
                    yield resolve(config)


def trained(run: Run, dataset: Dataset, epochs: int) -> Any:
    """The network after some epochs on a random tenth."""
    learner, n = run.steps["model"].init(run.key), len(dataset.train)
    rows = np.asarray(draw(run.key, n, budget_of(0.1, n)))
    ones = np.ones(len(rows), np.float32)
    for epoch in range(epochs):
        key = jax.random.fold_in(run.key, epoch)
        learner, *_ = run_epoch(
            run.steps["model"], learner, run.train, rows, ones,
            batch_size=run.batch_size, lr=run.lr, key=key,
        )  # fmt: skip
    return learner


def interval(run: Run, state: Any, config: RunConfig, repeats: int) -> dict[str, Any]:
    """Seconds of its parts, and the share that is training."""
    key = jax.random.key(config.seed)
    snapshot, looked = timed(lambda: take_snapshot(run, state, key), repeats)
    answer, chose = timed(lambda: run.strategy.select(state.strategy, snapshot, key), repeats)
    epoch = next(epoch for epoch in run.plan if epoch.select)
    rows, weights = examples_of(epoch, answer[0], len(run.train))

    def train() -> Any:
        learner = jax.tree.map(jnp.copy, state.networks["model"])  # a step is given its argument
        return run_epoch(
            run.steps["model"], learner, run.train, rows, weights,
            batch_size=run.batch_size, lr=run.lr, key=key, batching=epoch.batching,
        )[0]  # fmt: skip

    _, trains = timed(train, repeats)
    trains = trains["seconds"] * config.select_every
    selects = looked["seconds"] + chose["seconds"]
    return {
        "pass_seconds": looked["seconds"],
        "solver_seconds": chose["seconds"],
        "training_seconds": trains,
        "select_every": config.select_every,
        "training_share": trains / (trains + selects),
        "training_share_warm": 2 * trains / (2 * trains + selects),
    }


COLUMNS = fields(
    strategy="{}", fraction="{:.0%}", pool="{}", pass_seconds="{:.3f}", solver_seconds="{:.3f}",
    training_seconds="{:.2f}", training_share="{:.0%}", training_share_warm="{:.0%}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, Profile)
