"""How well each GRAD-MATCH variant matches the full last-layer gradient, over budgets.

    python -m experiments.bench.matching_error --dataset mnist --data-dir FOLDER_OF_THE_IDX_FILES

LeNet trains on a random 10 % of MNIST; after 1, 5 and 20 epochs the last-layer gradients of the
whole training set are taken and every variant selects 1, 3, 5 and 10 % of it. `random` is a random
subset of each class with weights n_c/k_c. Two relative errors, both on the full last-layer gradient
of C(E+1) numbers, whatever the variant itself matched:

- whole: ‖sum_i w_i g_i - g‖ / ‖g‖ over the training set;
- per class: sqrt(sum_c ‖sum_{i in c} w_i g_i - g_c‖²) / sqrt(sum_c ‖g_c‖²).

`--fills random calibrated` measures both ways to use up what matching leaves of a budget, as on
CIFAR-10, where it stops early: `--dataset cifar10 --fractions 0.05 0.1 0.3`.

gradmatch-pb weights mini-batch means, so only the whole gradient is what it aims at. The paper
(appendix A.2.1) approximates the full gradient by its per-class-per-gradient part for memory's
sake; its table 8 compares strategies, not this approximation.
"""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.command import command, quickened, show
from experiments.records import append, stamp
from gradmatch_jax.data import Dataset
from gradmatch_jax.gradients import (
    LastLayerGradients,
    class_sums,
    matching_error,
    take,
)
from gradmatch_jax.models import build_model
from gradmatch_jax.report.tables import Column, mean_and_std, percent, rich_table
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.ranking import draw
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.solvers.options import Fill, MatchingOptions
from gradmatch_jax.strategies import build_strategy
from gradmatch_jax.strategies.strategy import Pass, Snapshot, Task
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import RunConfig, TrainConfig, resolve
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, run_epoch
from gradmatch_jax.training.schedule import budget_of
from gradmatch_jax.training.steps import make_steps


@dataclass(frozen=True)
class MatchingError:
    """What to measure."""

    dataset: str = "mnist"
    data_dir: Path | None = None
    moments: tuple[int, ...] = (1, 5, 20)
    """Epochs after which the gradients are taken."""
    fractions: tuple[float, ...] = (0.01, 0.03, 0.05, 0.1)
    variants: tuple[str, ...] = ("gradmatch", "gradmatch-per-class", "gradmatch-pb", "random")
    seeds: tuple[int, ...] = (0, 1, 2)
    fills: tuple[Fill, ...] = ("random",)
    """What matching does with budget it does not use; add calibrated to compare the two."""
    train_fraction: float = 0.1
    """Share of the training set that the model learns from."""
    limit: int | None = None
    """Only the first so many training images: for a rehearsal."""
    quick: bool = False
    """The embedded digits, one moment and one budget: a rehearsal."""
    results: Path = Path("results/matching_error.jsonl")


QUICK = {
    "dataset": "digits", "moments": (1,), "fractions": (0.1,), "seeds": (0,), "limit": 300,
}  # fmt: skip


def main(args: MatchingError) -> None:
    """Measure every variant at every moment and budget."""
    args = quickened(args, **QUICK) if args.quick else args
    start = time.perf_counter()
    records: list[dict[str, Any]] = []
    for seed in args.seeds:
        config = resolve(TrainConfig(dataset=args.dataset, data_dir=args.data_dir, seed=seed))
        dataset = load(config)
        if args.limit is not None:
            part = dataset.train.subset(np.arange(min(args.limit, len(dataset.train))))
            dataset = dataclasses.replace(dataset, train=part)
        for moment, seen in moments(config, dataset, args):
            for fraction in args.fractions:
                for variant, fill in contestants(args):
                    record = {"seed": seed, "epoch": moment, "fraction": fraction} | measure(
                        variant, fraction, seen, dataset, config, fill
                    )
                    append(args.results, record | stamp(args, start))
                    records.append(record)
            print(f"seed {seed}, epoch {moment}: done", flush=True)
    for moment in args.moments:
        title = f"Relative error on the full last-layer gradient, after epoch {moment}"
        show(rich_table(*table(r for r in records if r["epoch"] == moment), title=title))


def contestants(args: MatchingError) -> list[tuple[str, Fill]]:
    """Every variant with every fill; a random subset has none to choose."""
    return [
        (variant, fill)
        for variant in args.variants
        for fill in (args.fills if variant != "random" else args.fills[:1])
    ]


def moments(config: RunConfig, dataset: Dataset, args: MatchingError) -> Iterator[tuple[int, Pass]]:
    """Train on one random subset; give the training set's gradients after each moment's epoch."""
    model = build_model(config.model, dataset.train.shape, dataset.num_classes)
    steps = make_steps(
        model, dataset, momentum=config.momentum, weight_decay=config.weight_decay, augmented=False
    )
    feed = Feed(dataset.train)
    key = jax.random.key(config.seed)
    init_key, draw_key, sgd_key = jax.random.split(key, 3)
    learner = steps.init(init_key)
    subset = np.asarray(draw(draw_key, len(feed), budget_of(args.train_fraction, len(feed))))
    ones = np.ones(len(subset), np.float32)
    for epoch in range(1, max(args.moments) + 1):
        learner, *_ = run_epoch(
            steps, learner, feed, subset, ones, batch_size=config.batch_size,
            lr=config.lr, key=jax.random.fold_in(sgd_key, epoch),
        )  # fmt: skip
        if epoch in args.moments:
            logits, features = collect(steps, learner.variables, feed)
            yield epoch, Pass(logits, features, feed.labels)


def measure(
    variant: str,
    fraction: float,
    seen: Pass,
    dataset: Dataset,
    config: RunConfig,
    fill: Fill = "random",
) -> dict[str, Any]:
    """Select with the driver's options and this fill, and measure both errors."""
    labels, classes = dataset.train.labels, dataset.num_classes
    gradients = seen.gradients
    task = Task(labels, classes, budget_of(fraction, len(labels)))
    key = jax.random.key(config.seed)
    start = time.perf_counter()
    if variant == "random":
        chosen = stratified(task, config.seed)
    else:
        options = MatchingOptions(fill=fill)
        settings = {"batch_size": config.batch_size, "options": options}
        strategy = build_strategy(variant, task, settings)
        chosen, _ = strategy.select(strategy.init(key), Snapshot(seen), key)
    jax.block_until_ready(chosen)
    return {
        "variant": variant if fill == "random" else f"{variant}, {fill}",
        "seconds": time.perf_counter() - start,  # compilation included
        "size": int(chosen.size),
        "num_matched": int(chosen.num_matched),
        "whole": float(matching_error(gradients, chosen.indices, chosen.weights)),
        "per_class": float(per_class_error(gradients, chosen, jnp.asarray(labels), classes)),
    }


def stratified(task: Task, seed: int) -> Selection:
    """A random subset of each class, weighted n_c/k_c: an unbiased estimate of its gradient."""
    rng = np.random.default_rng(seed)
    groups = partition(task.labels, task.budget, task.num_classes)
    indices, weights = [], []
    for members, budget in zip(np.asarray(groups.members), np.asarray(groups.budgets), strict=True):
        members = members[members >= 0]
        indices.append(rng.choice(members, budget, replace=False))
        weights.append(np.full(budget, len(members) / max(budget, 1), np.float32))
    size = jnp.asarray(task.budget)
    rows, values = (jnp.asarray(np.concatenate(x)) for x in (indices, weights))
    return Selection(rows, values, size, size, jnp.asarray(jnp.nan))


def per_class_error(
    gradients: LastLayerGradients, chosen: Selection, labels: Int[Array, " n"], classes: int
) -> Float[Array, ""]:
    """sqrt(sum_c ‖residual_c‖²) / sqrt(sum_c ‖target_c‖²) on the full last-layer gradient."""
    target = class_sums(gradients, labels, classes)
    part = take(gradients, chosen.indices)
    assert isinstance(part, LastLayerGradients)
    weights = jnp.where(chosen.indices >= 0, chosen.weights, 0.0)
    part = part._replace(residuals=part.residuals * weights[:, None])
    approximation = class_sums(part, labels[chosen.indices], classes)
    return jnp.linalg.norm(approximation - target) / jnp.linalg.norm(target)


Line = tuple[str, str]  # a variant and a measure
Errors = dict[tuple[str, str, float], list[float]]


def table(records: Iterable[dict[str, Any]]) -> tuple[list[Column[Line]], list[Line]]:
    """Mean ± std over the seeds: a line a variant and measure, a column a budget."""
    errors: Errors = {}
    for r in records:
        for measured in ("whole", "per_class"):
            key = r["variant"], measured, r["fraction"]
            errors.setdefault(key, []).append(r[measured])
    lines = list(dict.fromkeys(key[:2] for key in errors))
    columns: list[Column[Line]] = [
        Column("variant", lambda line: line[0]),
        Column("measure", lambda line: line[1].replace("_", " ")),
    ]
    for fraction in sorted({key[2] for key in errors}):
        columns.append(
            Column(
                percent(fraction),
                lambda line, f=fraction: errors.get((*line, f)),
                lambda values: mean_and_std(values, 4),
            )
        )
    return columns, lines


if __name__ == "__main__":
    command(main, MatchingError)
