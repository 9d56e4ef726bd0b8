"""The forms of matching against each other and against an older checkout: seconds a selection.

    python -m experiments.bench.solver --data-dir MNIST --baseline 836f46b
    python -m experiments.bench.solver --npz FILE_WITH_LOGITS_FEATURES_LABELS --forms auto gram
    python -m experiments.bench.solver --quick

One selection of all classes, non-negative, after a warm-up, the medians of `repeats` on the wall
clock and in the processor's time, which another's load touches less; compilation apart. The
gradients are those of a LeNet that trained --epochs on MNIST; without --data-dir and --npz random
ones of that shape. An older revision, the one before the forms on residuals say, runs the same
selections in a process of its own, in turn with ours, so that both meet the same machine.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, stamp
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import last_layer_gradients
from gradmatch_jax.models import build_model
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.result import describe_stops
from gradmatch_jax.selection.subset import Approximation, select_subset
from gradmatch_jax.solvers.options import FormChoice
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, run_epoch
from gradmatch_jax.training.steps import make_steps

# Run in the older checkout; it has the same `select_subset`, in a module of another name.
OLDER = """
import json, statistics, sys, time
import jax, jax.numpy as jnp, numpy as np
import gradmatch_jax as g
file, variant, fraction, repeats = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
with np.load(file) as f:
    logits, features, labels = (f[name] for name in ("logits", "features", "labels"))
gradients = g.last_layer_gradients(*(jnp.asarray(x) for x in (logits, features, labels)))
budget = round(fraction * len(labels))
groups = g.partition(labels, budget)
def run():
    clocks = time.perf_counter(), time.process_time()
    found = g.select_subset(gradients, budget, labels=groups, approximation=variant)
    jax.block_until_ready(found)
    return time.perf_counter() - clocks[0], time.process_time() - clocks[1], found
run()
walls, cpus, found = zip(*(run() for _ in range(repeats)))
print(json.dumps({"seconds": statistics.median(walls), "cpu_seconds": statistics.median(cpus),
                  "matched": int(found[-1].num_matched),
                  "error": float(found[-1].matching_error)}))
"""


@dataclass(frozen=True)
class SolverBench:
    """What to time."""

    data_dir: Path | None = None
    """MNIST's folder: of a LeNet trained on it."""
    epochs: int = 10
    """How long it trained; 1 has early gradients."""
    npz: Path | None = None
    """logits (n, C), features (n, E), labels (n,): one pass of a trained network."""
    baseline: str | None = None
    """An older revision of this repository to time beside this one, or a checkout of it."""
    variants: tuple[Approximation, ...] = ("per_gradient", "exact")
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.3)
    forms: tuple[FormChoice, ...] = ("auto",)
    """Add gram, features and support to see them apart."""
    repeats: int = 3
    results: Path = Path("results/solver.jsonl")
    quick: bool = False
    """Two budgets of 600 random gradients: a rehearsal."""


QUICK = {"fractions": (0.05, 0.1), "repeats": 1}


def main(args: SolverBench) -> None:
    """Time every variant at every budget in every form."""
    args = quickened(args, **QUICK) if args.quick else args
    arrays = the_pass(args)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file, checkout = Path(folder) / "pass.npz", older_checkout(args.baseline, Path(folder))
        np.savez(file, logits=arrays[0], features=arrays[1], labels=arrays[2])
        for variant in args.variants:
            for fraction in args.fractions:
                older = run_older(args, checkout, file, variant, fraction)
                for form in args.forms:
                    start = time.perf_counter()
                    ours = run_ours(args, arrays, variant, fraction, form)
                    rows.append(ours | {"older": older} | stamp(args, start))
                    append(args.results, rows[-1])
    show(table(rows))


def the_pass(args: SolverBench) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What there is to select from."""
    if args.npz is not None:
        return read(args.npz)
    if args.data_dir is not None:
        return trained_pass(args.data_dir, args.epochs)
    return random_pass(600 if args.quick else 60_000)


def trained_pass(data_dir: Path, epochs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, features and labels of all MNIST has to train on, of a LeNet after some epochs."""
    dataset = load(resolve(TrainConfig(dataset="mnist", data_dir=data_dir)))
    model = build_model("lenet", dataset.train.shape, dataset.num_classes)
    steps = make_steps(model, dataset, momentum=0.9, weight_decay=5e-4, augmented=False)
    feed, learner = Feed(dataset.train), steps.init(jax.random.key(0))
    rows, ones = np.arange(len(feed)), np.ones(len(feed), np.float32)
    for epoch in range(epochs):
        key = jax.random.key(1 + epoch)
        learner, *_ = run_epoch(steps, learner, feed, rows, ones, batch_size=128, lr=0.01, key=key)
    logits, features = collect(steps, learner.variables, feed)
    return np.asarray(logits), np.asarray(features), np.asarray(feed.host_labels)


def older_checkout(named: str | None, folder: Path) -> Path | None:
    """The older revision's files; a revision is unpacked into `folder`."""
    if named is None or Path(named).is_dir():
        return None if named is None else Path(named)
    root = Path(__file__).resolve().parents[2]
    archive = ["git", "-C", str(root), "archive", "--format=tar", named]
    done = subprocess.run(archive, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"--baseline {named}: no folder, and no revision of this repository")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(folder / "older", filter="data")
    return folder / "older"


def random_pass(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, features and labels of MNIST's shape: ten classes, 84 features after a ReLU."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    logits = rng.normal(size=(n, 10)) + 3 * np.eye(10)[labels]
    features = np.maximum(rng.normal(size=(n, 84)), 0)
    return logits.astype(np.float32), features.astype(np.float32), labels.astype(np.int32)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, features and labels of a file."""
    with np.load(path) as file:
        return file["logits"], file["features"], file["labels"]


def run_ours(
    args: SolverBench,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    variant: Approximation,
    fraction: float,
    form: FormChoice,
) -> dict[str, Any]:
    """This checkout's selection: median seconds, and what it says of itself."""
    logits, features, labels = arrays
    gradients = last_layer_gradients(jnp.asarray(logits), jnp.asarray(features), labels)
    budget = round(fraction * len(labels))
    groups = partition(labels, budget)

    def solve():
        return select_subset(gradients, budget, labels=groups, approximation=variant, form=form)

    selection, times = timed(solve, args.repeats)
    return {
        "variant": variant,
        "fraction": fraction,
        **times,
        "matched": int(selection.num_matched),
        "error": float(selection.matching_error),
        **describe_stops(selection),
    }


def run_older(
    args: SolverBench, checkout: Path | None, file: Path, variant: Approximation, fraction: float
) -> dict[str, Any] | None:
    """The older checkout's selection, in a process of its own."""
    if checkout is None:
        return None
    arguments = [str(file), variant, str(fraction), str(args.repeats)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    answer = subprocess.run(
        [sys.executable, "-c", OLDER, *arguments],
        cwd=checkout, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(answer.stdout.splitlines()[-1])


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows, with how many times the processor's time the older checkout takes."""
    result = Table(title="One selection of all classes")
    for name in (
        "variant",
        "share",
        "form",
        "seconds",
        "cpu",
        "compile",
        "older",
        "older cpu",
        "ratio",
        "matched",
        "error",
    ):
        result.add_column(name, justify="left" if name in ("variant", "form") else "right")
    for row in rows:
        older = row["older"]
        result.add_row(
            row["variant"], f"{row['fraction']:.0%}", row["form"], f"{row['seconds']:.3f}",
            f"{row['cpu_seconds']:.3f}", f"{row['compile_seconds']:.1f}",
            f"{older['seconds']:.3f}" if older else "-",
            f"{older['cpu_seconds']:.3f}" if older else "-",
            f"{older['cpu_seconds'] / row['cpu_seconds']:.1f}" if older else "-",
            str(row["matched"]), f"{row['error']:.5f}",
        )  # fmt: skip
    return result


if __name__ == "__main__":
    command(main, SolverBench)
