"""Everything worth measuring on a GPU host, in one command of less than 10 minutes (H200).

    python -m experiments.bench.gpu_check --data-dir FOLDER_OF_CIFAR10_NPZ
    python -m experiments.bench.gpu_check --quick             # rehearsal on a CPU, some minutes

(a) `omp`, one problem of n = 5000, d = 513, k = 50, 500, 1500, 4500; and per-class (exact and per
    gradient), per-batch, CRAIG's and GLISTER's selection of 1, 5, 10, 30 % of 10 x 5000 random
    factored gradients.
(b) The pass over CIFAR-10's training images (45,000) that collects logits and features, images/s.
(c) ResNet-18 training at batch 128, images/s, in bfloat16 and float32.
(d) Full training against gradmatch-pb-warm and adaptive-random at 10 %, 30 epochs each: accuracy,
    seconds and speed-up (the paper's, Table 2, one V100, 300 epochs: 7).

Each step appends a JSON line to --results at once; a step whose line is there for the same device
and settings is skipped, so the command can be repeated until all is done. A step that fails leaves
its error there and the others go on; the exit status is then 1. Without data the images are
synthetic (and so recorded). Times are medians around `block_until_ready`, compilation apart. JAX
multiplies float32 convolutions in tf32 on such GPUs; OMP and Gram matrices take float32 in full.
"""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, read, stamp
from gradmatch_jax.data import Dataset, ImagePrepare, Split, load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients
from gradmatch_jax.measure.versions import device_name
from gradmatch_jax.models import build_model
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset
from gradmatch_jax.selection.glister import Validation, glister
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.solvers.pursuit import omp
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.passes import collect, run_epoch
from gradmatch_jax.training.schedule import budget_of
from gradmatch_jax.training.steps import Learner, Steps, make_steps

CLASSES = 10


@dataclass(frozen=True)
class GPUCheck:
    """What to measure."""

    data_dir: Path | None = None
    """Folder with cifar10.npz or CIFAR-10's original files; None: synthetic images."""
    only: tuple[str, ...] = ()
    """Steps whose names start with one of these (omp, select, pass, train, run); all if empty."""
    quick: bool = False
    """Tiny sizes, to rehearse on a CPU."""
    epochs: int = 30
    lr: float = 0.01
    select_every: int = 5
    """R of the runs: the paper's 20 would mean one selection in 30 epochs."""
    repeats: int = 3
    seed: int = 0
    results: Path = Path("results/gpu_check.jsonl")


@dataclass(frozen=True)
class Sizes:
    """How large each step is."""

    per_class: int = 5000
    features: int = 512
    budgets: tuple[int, ...] = (50, 500, 1500, 4500)
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.3)
    images: int = 50_000
    model: str = "resnet18"
    batch: int = 128


SMALL = Sizes(60, 16, (5,), (0.1,), 400, "mlp", 32)
Variant = Literal["exact", "per_gradient", "batches", "craig", "glister"]
VARIANTS: tuple[Variant, ...] = ("exact", "per_gradient", "batches", "craig", "glister")
HELD = 5000  # validation examples of GLISTER
Step = Callable[[], dict[str, Any]]


def main(args: GPUCheck) -> int:
    """Run what is not done yet; the exit status is 1 if a step failed."""
    args = quickened(args) if args.quick else args
    sizes = SMALL if args.quick else Sizes()
    if args.data_dir is not None and not args.data_dir.expanduser().is_dir():
        raise UserError(f"--data-dir {args.data_dir}: no such folder; it is CIFAR-10's")
    failed = 0
    for name, step in steps(args, sizes).items():
        if args.only and not name.startswith(args.only):
            continue
        settings: dict[str, Any] = {"quick": args.quick, "seed": args.seed}
        if flags := os.environ.get("XLA_FLAGS"):
            settings["xla_flags"] = flags
        if name.startswith(("pass", "train", "run")):
            settings["data"] = "synthetic" if args.data_dir is None else "cifar10"
        if name.startswith("run"):
            settings |= {k: getattr(args, k) for k in ("epochs", "lr", "select_every")}
        identity = {"step": name, "device": device_name(), "config": settings}
        if any(all(line[k] == v for k, v in identity.items()) for line in done(args.results)):
            continue
        start = time.perf_counter()
        try:
            figures = step()
        except Exception as error:
            traceback.print_exc()
            figures, failed = {"error": f"{type(error).__name__}: {error}"}, failed + 1
        append(args.results, stamp(args, start) | identity | figures)
        print(name, figures, flush=True)
    summed_up(done(args.results))
    return int(failed > 0)


def steps(args: GPUCheck, sizes: Sizes) -> dict[str, Step]:
    """Every step by name, in order; nothing is computed yet."""
    result: dict[str, Step] = {}
    for k in sizes.budgets:
        result[f"omp-{k}-signed"] = partial(time_omp, args, sizes, k, False)
        result[f"omp-{k}-nonnegative"] = partial(time_omp, args, sizes, k, True)
    for fraction in sizes.fractions:
        for variant in VARIANTS:
            step = partial(time_selection, args, sizes, variant, fraction)
            result[f"select-{variant}-{fraction:g}"] = step
    for name, bf16 in (("bf16", True), ("float32", False)):
        result[f"pass-{name}"] = partial(time_pass, args, sizes, bf16)
        result[f"train-{name}"] = partial(time_training, args, sizes, bf16)
    for strategy in ("full", "gradmatch-pb-warm", "adaptive-random"):
        result[f"run-{strategy}"] = partial(run, args, sizes, strategy)
    return result


def done(out: Path) -> list[dict[str, Any]]:
    """The lines of steps that worked."""
    return [line for line in read(out) if "error" not in line]


@cache
def images(args: GPUCheck, sizes: Sizes) -> Dataset:
    """CIFAR-10 as it is trained on, or noise in its shape."""
    if args.data_dir is not None:
        dataset = load_dataset("cifar10", args.data_dir)
        few = dataset.train.subset(np.arange(sizes.images)) if args.quick else None
        return dataset if few is None else replace(dataset, train=few, test=few)
    rng = np.random.default_rng(args.seed)

    def split(n: int) -> Split:
        labels = rng.integers(CLASSES, size=n).astype(np.int32)
        return Split(rng.integers(256, size=(n, 32, 32, 3), dtype=np.uint8), labels)

    train_split, test = split(sizes.images), split(sizes.images // 5)
    prepare = ImagePrepare((1 / 3,) * 3, (1 / 3,) * 3, crop_padding=4, flip=True)
    return Dataset("synthetic", train_split, test, test, CLASSES, prepare, tuple("0123456789"))


def time_omp(args: GPUCheck, sizes: Sizes, k: int, nonnegative: bool) -> dict[str, Any]:
    """One Gram problem of Gaussian atoms, the target their sum."""
    rng = np.random.default_rng(args.seed)
    atoms = rng.standard_normal((sizes.per_class, sizes.features + 1))
    target = atoms.sum(axis=0)
    gram, correlations = (jnp.asarray(x, jnp.float32) for x in (atoms @ atoms.T, atoms @ target))
    norm = float(target @ target)
    solve = partial(omp, gram, correlations, norm, k, nonnegative=nonnegative)
    answer, figures = timed(solve, args.repeats)
    weights = np.asarray(answer.weights, np.float64)  # 0 where an index is padding
    miss = weights @ atoms[np.asarray(answer.indices)] - target
    objective = float(miss @ miss + 0.5 * weights @ weights)
    return figures | {"size": int(answer.size), "objective": objective, "target_sq_norm": norm}


@cache
def random_gradients(args: GPUCheck, sizes: Sizes) -> tuple[LastLayerGradients, np.ndarray]:
    """Factored gradients of random logits and features, a class as large as the next."""
    z_key, h_key = jax.random.split(jax.random.key(args.seed))
    n = CLASSES * sizes.per_class
    labels = np.arange(n, dtype=np.int32) % CLASSES
    logits = 2 * jax.random.normal(z_key, (n, CLASSES))
    features = jax.nn.relu(jax.random.normal(h_key, (n, sizes.features)))
    return last_layer_gradients(logits, features, jnp.asarray(labels)), labels


def time_selection(
    args: GPUCheck, sizes: Sizes, variant: Variant, fraction: float
) -> dict[str, Any]:
    """A whole selection, Gram matrices included."""
    gradients, labels = random_gradients(args, sizes)
    budget = budget_of(fraction, len(labels))
    key = jax.random.key(args.seed)
    groups = partition(labels, budget, CLASSES)
    held = Validation(gradients.residuals[:HELD], gradients.features[:HELD], labels[:HELD])

    def select():
        if variant == "batches":
            return select_batches(gradients, budget, sizes.batch, key=key)
        if variant == "craig":
            return select_coreset(gradients, budget, labels=groups)
        if variant == "glister":
            return glister(gradients, held, budget, eta=0.01)
        return select_subset(gradients, budget, labels=groups, approximation=variant, key=key)

    answer, figures = timed(select, args.repeats)
    figures |= {"size": int(answer.size), "num_matched": int(answer.num_matched)}
    return figures | {"matching_error": float(answer.matching_error)}


def parts_of_training(args: GPUCheck, sizes: Sizes, bf16: bool) -> tuple[Steps, Feed, Learner]:
    """Steps, training images on the device and a fresh learner."""
    dataset = images(args, sizes)
    model = build_model(sizes.model, dataset.train.shape, CLASSES, bf16=bf16)
    made = make_steps(model, dataset, momentum=0.9, weight_decay=5e-4, augmented=True)
    return made, Feed(dataset.train), made.init(jax.random.key(args.seed))


def time_pass(args: GPUCheck, sizes: Sizes, bf16: bool) -> dict[str, Any]:
    """Logits and features of the training images, which stay on the device."""
    made, feed, learner = parts_of_training(args, sizes, bf16)
    _, figures = timed(partial(collect, made, learner.variables, feed), args.repeats)
    return figures | {"images": len(feed), "images_per_second": len(feed) / figures["seconds"]}


def time_training(args: GPUCheck, sizes: Sizes, bf16: bool) -> dict[str, Any]:
    """Epochs over the training images, as the driver runs them."""
    made, feed, learner = parts_of_training(args, sizes, bf16)
    rows, ones = np.arange(len(feed), dtype=np.int32), np.ones(len(feed), np.float32)
    losses = []

    def epoch() -> Learner:
        nonlocal learner  # donated, so each epoch goes on from the last
        key = jax.random.key(len(losses))
        learner, loss, _ = run_epoch(
            made, learner, feed, rows, ones, batch_size=sizes.batch, lr=args.lr, key=key
        )
        losses.append(loss)
        return learner

    _, figures = timed(epoch, args.repeats)
    figures |= {"images": len(feed), "losses": losses}
    return figures | {"images_per_second": len(feed) / figures["seconds"]}


def run(args: GPUCheck, sizes: Sizes, strategy: str) -> dict[str, Any]:
    """One training run through the driver."""
    asked = TrainConfig(
        dataset="cifar10",
        model=sizes.model,
        strategy=strategy,
        fraction=0.1,
        epochs=2 if args.quick else args.epochs,
        batch_size=sizes.batch,
        lr=args.lr,
        select_every=args.select_every,
        bf16=not args.quick,
        seed=args.seed,
    )
    config = resolve(asked, strict=False)  # full training has no fraction, a fresh one no interval
    result = train(config, dataset=images(args, sizes))
    names = (
        "test_accuracy", "train_seconds", "selection_seconds", "compile_seconds", "train_size",
        "subset_size", "full_epochs", "num_matched",
    )  # fmt: skip
    figures = {name: result.summary[name] for name in names}
    return figures | {"seconds": figures["train_seconds"] + figures["selection_seconds"]}


def summed_up(records: list[dict[str, Any]]) -> None:
    """The lines of the file; speed-ups against the full run of the same device and settings."""
    full = {whose(r): r["seconds"] for r in records if "full" in r["step"]}
    columns = fields(
        step="{}", seconds="{:.4g}", compile_seconds="{:.1f}", images_per_second="{:,.0f}",
        test_accuracy="{:.2f}", speed_up="{:.1f}",
    )  # fmt: skip
    ours = [r | {"speed_up": full[whose(r)] / r["seconds"]} if whose(r) in full else r
            for r in records]  # fmt: skip
    title = "GPU check: " + ", ".join(sorted({r["device"] for r in records}))
    show(rich_table(columns, ours, title=title))


def whose(record: dict[str, Any]) -> str:
    """The device and settings of a record."""
    return f"{record['device']} {record['config']}"


if __name__ == "__main__":
    command(main, GPUCheck)
