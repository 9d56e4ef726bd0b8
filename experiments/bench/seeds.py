"""Whether several seeds of a small network train faster at once, by vmap, than one after another.

    python -m experiments.bench.seeds                       # on one core: taskset -c 0
    python -m experiments.bench.seeds --images 20000        # on a GPU host

The driver's step, mapped over a leading axis of seeds: each has weights, an order and a key of its
own and shares the images. On a CPU a network with convolutions is stepped from Python, as the
driver does (`training.passes.scans`), else, and on an accelerator, 64 steps are one call. `gain` is
the seconds of as many seeds one after another over theirs at once: what `vmap` would save a sweep,
whose selections would have to be mapped too. Images are random; medians after a first call.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.data import Dataset, ImagePrepare, Split
from gradmatch_jax.errors import UserError
from gradmatch_jax.models import build_model
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import SCAN, scans
from gradmatch_jax.training.steps import Learner, Steps, make_steps

SHAPE, CLASSES = (28, 28, 1), 10


@dataclass(frozen=True)
class Seeds:
    """What to train, and how many at once."""

    models: tuple[Literal["lenet", "mnistnet", "mlp"], ...] = ("mlp", "lenet")
    seeds: tuple[int, ...] = (1, 2, 4, 8)
    batch_size: int = 20
    images: int = 2560
    """Of an epoch: whole calls of 64 steps are made."""
    repeats: int = 5
    quick: bool = False
    """Few images and seeds: a rehearsal."""
    results: Path = Path("results/seeds_at_once.jsonl")


QUICK: dict[str, Any] = {"models": ("mlp",), "seeds": (1, 2), "images": 1280, "repeats": 1}


def main(args: Seeds) -> None:
    """Time every number of seeds beside the first alone.

    Raises:
        UserError: fewer images than a call takes.
    """
    args = quickened(args, **QUICK) if args.quick else args
    if not examples(args):
        raise UserError(
            f"--images {args.images}: a call of {SCAN} steps takes {SCAN * args.batch_size} images"
        )
    records = []
    for model in args.models:
        start = time.perf_counter()
        steps, feed = network(args, model)
        learners = [steps.init(jax.random.key(seed)) for seed in range(max(args.seeds))]
        one = None
        for count in args.seeds:
            epoch = at_once(args, steps, feed, learners[:count])
            _, figures = timed(epoch, args.repeats)
            one = one or alone(figures, count)
            gain = {k: count * one[k] / figures[k] for k in ("seconds", "cpu_seconds")}
            record = {
                "model": model, "seeds": count, "gain": gain["seconds"],
                "cpu_gain": gain["cpu_seconds"],
                "images_per_second": count * examples(args) / figures["seconds"],
            }  # fmt: skip
            records.append(record | figures)
            append(args.results, records[-1] | stamp(args, start))
    show(rich_table(COLUMNS, records, title="Seeds at once"))


def alone(figures: dict[str, Any], count: int) -> dict[str, float]:
    """What a seed takes in the run that is first: the yardstick, by itself if it is of one."""
    return {k: figures[k] / count for k in ("seconds", "cpu_seconds")}


def network(args: Seeds, model: str) -> tuple[Steps, Feed]:
    """Steps and images of MNIST's shape."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (args.images, *SHAPE), dtype=np.uint8)
    split = Split(pixels, rng.integers(0, CLASSES, args.images).astype(np.int32))
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset("random", split, split, split, CLASSES, ImagePrepare((0.13,), (0.31,)), names)
    made = make_steps(
        build_model(model, SHAPE, CLASSES), dataset, momentum=0.9, weight_decay=5e-4,
        augmented=False,
    )  # fmt: skip
    return made, Feed(split)


def examples(args: Seeds) -> int:
    """Of an epoch of one seed."""
    return args.images // (SCAN * args.batch_size) * SCAN * args.batch_size


def at_once(
    args: Seeds, steps: Steps, feed: Feed, learners: list[Learner]
) -> Callable[[], Learner]:
    """An epoch of each of the learners, in step, which can be called again and again."""
    seeds, size, n = len(learners), args.batch_size, len(feed)
    rng = np.random.default_rng(1)
    orders = np.stack([rng.permutation(n)[: examples(args)] for _ in range(seeds)])
    rows = orders.reshape(seeds, -1, SCAN, size).astype(np.int32)
    calls = [jnp.asarray(rows[:, i]) for i in range(rows.shape[1])]
    ones, keys = jnp.ones((seeds, SCAN, size)), jax.random.split(jax.random.key(2), seeds)
    pool, labels = next(feed.batches(np.arange(1), 1)).pool, jnp.asarray(feed.host_labels)
    whole = scans(learners[0], feed, size)

    def many(learner: Learner, rows: jax.Array, weights: jax.Array, key: jax.Array) -> Learner:
        return steps.train_many(learner, pool, labels, rows, weights, 0.01, key, 0, None)[0]

    def single(learner: Learner, rows: jax.Array, weights: jax.Array, key: jax.Array) -> Learner:
        return steps.train(learner, pool, labels[rows], rows, weights, 0.01, key, 0)[0]

    mapped = jax.jit(jax.vmap(many if whole else single), donate_argnums=0)
    state = jax.tree.map(lambda *x: jnp.stack(x), *learners)

    def epoch() -> Learner:
        nonlocal state
        for call in calls:
            if whole:
                state = mapped(state, call, ones, keys)
            else:
                for i in range(SCAN):
                    state = mapped(state, call[:, i], ones[:, i], keys)
        return state

    return epoch


COLUMNS = fields(
    model="{}", seeds="{}", seconds="{:.3f}", cpu_seconds="{:.3f}", gain="{:.2f}",
    cpu_gain="{:.2f}", images_per_second="{:,.0f}", compile_seconds="{:.1f}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, Seeds)
