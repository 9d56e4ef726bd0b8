"""Selection at ImageNet's size: n = 1,281,167 examples, 1,000 classes, 512 features.

    python -m experiments.bench.imagenet_size               # in full: an accelerator, or patience
    python -m experiments.bench.imagenet_size --scale 0.1   # a tenth of every class, on a CPU

Synthetic factored gradients, for what is measured is time and memory: residuals of a softmax over
C classes, features of a few directions a class and noise, both non-negative as behind a ReLU. The
classes have ImageNet's sizes: 732 to 1,300, most of them 1,300. Selected: per class and gradient at
5, 10 and 30 %, over mini-batches of 256, and CRAIG per class. Each runs in a process of its own:
seconds (compilation apart, the second call) and peak memory, the gradients' own included, which is
4 n (C + E) bytes: 7.7 GB in full.

Residuals are kept in full for per-batch matching alone; per class and gradient a class needs the
column of its own class, and CRAIG its own rows: --classes takes the first so many classes, and time
against n, C and k comes from runs with other --scale, --classes and --fractions.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from experiments.bench.cifar10_selection import alone
from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.report.tables import percent, rich_table
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset
from gradmatch_jax.selection.subset import select_subset

Variant = Literal["per-class", "per-batch", "craig"]
N, CLASSES, LEAST, MOST = 1_281_167, 1000, 732, 1300


@dataclass(frozen=True)
class ImageNetSize:
    """What to select from what."""

    scale: float = 1.0
    """Share of every class."""
    classes: int = CLASSES
    features: int = 512
    fractions: tuple[float, ...] = (0.05, 0.1, 0.3)
    variants: tuple[Variant, ...] = ("per-class", "per-batch", "craig")
    batch_size: int = 256
    repeats: int = 1
    seed: int = 0
    quick: bool = False
    """Ten small classes, one budget: a rehearsal."""
    results: Path = Path("results/imagenet_size.jsonl")


QUICK = {"scale": 0.02, "classes": 10, "features": 16, "fractions": (0.1,), "batch_size": 8}


def main(args: ImageNetSize) -> None:
    """Measure every variant at every fraction, each in a fresh process."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records = time.perf_counter(), []
    for fraction in args.fractions:
        for variant in args.variants:
            records.append(alone(select, args, variant, fraction))
            append(args.results, records[-1] | stamp(args, start))
            print(variant, fraction, f"{records[-1]['seconds']:.1f} s", flush=True)
    show(rich_table(COLUMNS, records, title="Selection at ImageNet's size"))


def class_sizes(classes: int, scale: float) -> Int[np.ndarray, "c"]:
    """Sizes like ImageNet's: LEAST to MOST, nine in ten at MOST, all 1,000 adding up to N.

    >>> sizes = class_sizes(1000, 1.0)
    >>> int(sizes.sum()), int(sizes.min()), int(sizes.max())
    (1281167, 732, 1300)
    """
    small = 105  # classes below MOST, evenly spread from LEAST on
    sizes = np.full(CLASSES, MOST)
    spread = np.linspace(LEAST, MOST, small)
    missing = CLASSES * MOST - N - (MOST - LEAST)  # but for the least, which stays as it is
    bend = missing / np.sum(MOST - spread[1:])
    sizes[:small] = np.round(MOST - (MOST - spread) * np.append(1.0, np.full(small - 1, bend)))
    sizes[small // 2] += N - sizes.sum()  # what rounding leaves
    # Small classes lie among the large ones, so that the first so many are like all.
    sizes = np.random.default_rng(0).permutation(sizes)[:classes]
    return np.maximum(np.round(sizes * scale), 1).astype(np.int64)


def problem(args: ImageNetSize) -> tuple[LastLayerGradients, Int[np.ndarray, "n"]]:
    """Gradients and labels, made on the device a class-wide block at a time."""
    labels = np.repeat(np.arange(args.classes), class_sizes(args.classes, args.scale))
    block = 1 << 14
    keys = jax.random.split(jax.random.key(args.seed), -(-len(labels) // block))
    parts = [
        _made(key, jnp.asarray(np.resize(labels[i * block : (i + 1) * block], block)), args.classes,
              args.features)
        for i, key in enumerate(keys)
    ]  # fmt: skip
    n = len(labels)
    residuals, features = (np.concatenate([np.asarray(p[i]) for p in parts])[:n] for i in (0, 1))
    return LastLayerGradients(jnp.asarray(residuals), jnp.asarray(features)), labels


def pass_of(key: jax.Array, labels: jax.Array, classes: int, width: int):
    """Logits (b, C) and features (b, E) of examples of these classes."""
    way, noise, scores = jax.random.split(key, 3)
    means = jax.random.normal(jax.random.key(1), (classes, width))
    pull = jax.random.uniform(way, (len(labels), 1), minval=0.3, maxval=1.5)
    features = jax.nn.relu(
        means[labels] * pull + 0.5 * jax.random.normal(noise, (len(labels), width))
    )
    own = jax.nn.one_hot(labels, classes)
    return jax.random.normal(scores, (len(labels), classes)) + 6 * pull * own, features


def _made_in(key: jax.Array, labels: jax.Array, classes: int, width: int):
    """Residuals (b, C) and features (b, E) of examples of these classes."""
    logits, features = pass_of(key, labels, classes, width)
    return jax.nn.softmax(logits) - jax.nn.one_hot(labels, classes), features


_made = jax.jit(_made_in, static_argnums=(2, 3))


def select(args: ImageNetSize, variant: Variant, fraction: float) -> dict[str, Any]:
    """One selection: its figures."""
    gradients, labels = problem(args)
    jax.block_until_ready(gradients)

    def work():
        if variant == "per-batch":
            return select_batches(gradients, fraction=fraction, batch_size=args.batch_size)
        if variant == "craig":
            return select_coreset(gradients, fraction=fraction, labels=labels)
        return select_subset(
            gradients, fraction=fraction, labels=labels, approximation="per_gradient"
        )

    answer, times = timed(work, args.repeats)
    return {
        "variant": variant,
        "fraction": fraction,
        "n": len(labels),
        "C": args.classes,
        "E": args.features,
        "k": int(answer.size),
        "num_matched": int(answer.num_matched),
        "matching_error": float(answer.matching_error),
    } | times


COLUMNS = fields(
    variant="{}", fraction=percent, n="{}", C="{}", k="{}", num_matched="{}", seconds="{:.2f}",
    compile_seconds="{:.1f}", matching_error="{:.4f}", peak_gb="{:.2f}", peak_device_gb="{:.1f}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, ImageNetSize)
