"""The forms of matching against each other and against an older checkout: seconds a selection.

    python -m experiments.bench.solver --npz FILE_WITH_LOGITS_FEATURES_LABELS --baseline CHECKOUT
    python -m experiments.bench.solver --quick

One selection of all classes, non-negative, after a warm-up, the medians of `repeats` on the wall
clock and in the processor's time, which another's load touches less; compilation apart. Without
--npz the gradients are random ones of MNIST's shape. The older checkout runs the same selections in
a process of its own, in turn with ours, so that both meet the same machine.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.bench.timing import timed
from gradmatch_jax.gradients import last_layer_gradients
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.result import describe_stops
from gradmatch_jax.selection.subset import Approximation, select_subset
from gradmatch_jax.solvers.options import FormChoice

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

    npz: Path | None = None
    """logits (n, C), features (n, E), labels (n,): one pass of a trained network."""
    baseline: Path | None = None
    """An older checkout to time beside this one."""
    variants: tuple[Approximation, ...] = ("per_gradient", "exact")
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.3)
    forms: tuple[FormChoice, ...] = ("auto",)
    """Add gram, features and support to see them apart."""
    repeats: int = 3
    quick: bool = False
    """Two budgets of 600 random gradients: a rehearsal."""


def main(args: SolverBench) -> list[dict[str, Any]]:
    """Time every variant at every budget in every form; print and return the rows."""
    if args.quick:
        args = replace(args, npz=None, fractions=(0.05, 0.1), repeats=1)
    arrays = random_pass(600 if args.quick else 60_000) if args.npz is None else read(args.npz)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pass.npz"
        np.savez(file, logits=arrays[0], features=arrays[1], labels=arrays[2])
        for variant in args.variants:
            for fraction in args.fractions:
                older = run_older(args, file, variant, fraction)
                for form in args.forms:
                    ours = run_ours(args, arrays, variant, fraction, form)
                    rows.append(ours | {"older": older})
                    print(json.dumps(rows[-1]), flush=True)
    Console().print(table(rows))
    return rows


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
    args: SolverBench, file: Path, variant: Approximation, fraction: float
) -> dict[str, Any] | None:
    """The older checkout's selection, in a process of its own."""
    if args.baseline is None:
        return None
    command = [sys.executable, "-c", OLDER, str(file), variant, str(fraction), str(args.repeats)]
    environment = os.environ | {"PYTHONPATH": str(args.baseline)}
    answer = subprocess.run(
        command, cwd=args.baseline, env=environment, check=True, capture_output=True, text=True
    )
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
    main(tyro.cli(SolverBench))
