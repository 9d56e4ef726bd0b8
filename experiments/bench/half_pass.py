"""What a match loses where the pass that it is made from is kept in half precision.

    python -m experiments.bench.half_pass --data-dir FOLDER_OF_THE_IDX_FILES

Logits and features of two kinds: LeNet's on MNIST, which has trained on a random 10 % as in
`matching_error`, and random ones like ImageNet's (`imagenet_size`) of --classes classes. Each pass
is kept in each type, and every variant selects from what was kept. How good the match is, is
measured on the gradients in float32:

- whole: ‖sum_i w_i g_i - g‖ / ‖g‖ over all examples;
- per class: sqrt(sum_c ‖sum_{i in c} w_i g_i - g_c‖²) / sqrt(sum_c ‖g_c‖²);
- same: the share of the examples chosen that the pass in float32 has chosen as well.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from experiments.bench.imagenet_size import class_sizes, pass_of
from experiments.bench.matching_error import MatchingError, moments, per_class_error
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.gradients import matching_error
from gradmatch_jax.report.tables import percent, rich_table
from gradmatch_jax.strategies import build_strategy
from gradmatch_jax.strategies.strategy import Pass, Snapshot, Task
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.schedule import budget_of


@dataclass(frozen=True)
class HalfPass:
    """Which passes, and what is selected from them."""

    dataset: str = "mnist"
    data_dir: Path | None = None
    moments: tuple[int, ...] = (1, 20)
    """Epochs after which the data set's pass is made."""
    classes: int = 100
    """Of the random pass; 0 leaves it out."""
    scale: float = 0.25
    """Share of each of ImageNet's classes in it."""
    features: int = 512
    fractions: tuple[float, ...] = (0.01, 0.1)
    variants: tuple[str, ...] = ("gradmatch", "gradmatch-per-class", "gradmatch-pb", "craig")
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    """The first is what the others' choices are compared with."""
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False
    """The embedded digits and ten small classes: a rehearsal."""
    results: Path = Path("results/half_pass.jsonl")


QUICK = {
    "dataset": "digits", "moments": (1,), "classes": 10, "scale": 0.05, "features": 16,
    "fractions": (0.1,), "seeds": (0,),
}  # fmt: skip


class Source(NamedTuple):
    """A pass in float32, and what it is of."""

    name: str
    seen: Pass
    classes: int
    batch_size: int


def main(args: HalfPass) -> None:
    """Select from every pass in every type."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records = time.perf_counter(), []
    for seed in args.seeds:
        for source in sources(args, seed):
            for fraction in args.fractions:
                for variant in args.variants:
                    found = compared(source, variant, fraction, args.dtypes, seed)
                    for record in found:
                        append(args.results, record | stamp(args, start))
                    records += found
            print(f"seed {seed}, {source.name}: done", flush=True)
    show(rich_table(COLUMNS, records, title="Matched from a pass in half precision"))


def sources(args: HalfPass, seed: int) -> Iterator[Source]:
    """The passes of a seed."""
    if args.classes:
        labels = np.repeat(np.arange(args.classes), class_sizes(args.classes, args.scale))
        labels = jnp.asarray(labels, jnp.int32)
        seen = pass_of(jax.random.key(seed), labels, args.classes, args.features)
        yield Source("random", Pass(*seen, labels), args.classes, 256)
    config = resolve(TrainConfig(dataset=args.dataset, data_dir=args.data_dir, seed=seed))
    dataset = load(config)
    trained = MatchingError(moments=args.moments)
    for epoch, seen in moments(config, dataset, trained):
        name = f"{args.dataset}, epoch {epoch}"
        yield Source(name, seen, dataset.num_classes, config.batch_size)


def compared(
    source: Source, variant: str, fraction: float, dtypes: tuple[str, ...], seed: int
) -> list[dict[str, Any]]:
    """A variant's matches from a pass in each type: a record each."""
    labels, exact = np.asarray(source.seen.labels), source.seen.gradients
    task = Task(labels, source.classes, budget_of(fraction, len(labels)))
    key, first, records = jax.random.key(seed), None, []
    strategy = build_strategy(variant, task, {"batch_size": source.batch_size})
    for dtype in dtypes:
        logits, features = (x.astype(dtype) for x in source.seen[:2])
        kept = Snapshot(Pass(logits, features, source.seen.labels))
        chosen, _ = strategy.select(strategy.init(key), kept, key)
        rows = rows_of(chosen.indices)
        first = rows if first is None else first
        records.append(
            {
                "source": source.name, "seed": seed, "variant": variant, "fraction": fraction,
                "dtype": dtype, "num_matched": int(chosen.num_matched),
                "whole": float(matching_error(exact, chosen.indices, chosen.weights)),
                "per_class": float(
                    per_class_error(exact, chosen, source.seen.labels, source.classes)
                ),
                "same": len(np.intersect1d(rows, first)) / len(first),
            }
        )  # fmt: skip
    return records


def rows_of(indices: jax.Array) -> Int[np.ndarray, " k"]:
    """The examples of a selection, without its padding."""
    found = np.asarray(indices)
    return found[found >= 0]


COLUMNS = fields(
    source="{}", seed="{}", variant="{}", fraction=percent, dtype="{}", num_matched="{}",
    whole="{:.4f}", per_class="{:.4f}", same=percent,
)  # fmt: skip


if __name__ == "__main__":
    command(main, HalfPass)
