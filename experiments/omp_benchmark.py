"""Our OMP against scikit-learn's on one Gram problem: time and objective.

    python -m experiments.omp_benchmark
    python -m experiments.omp_benchmark --npz FILE_WITH_LOGITS_FEATURES_LABELS

n = 5000 atoms in d = 513 dimensions, the target their sum, lam = 0.5. The atoms are Gaussian; with
--npz (the gradients.npz that `experiments.cifar10_selection` caches, say) they are a class's own
last-layer gradients, per gradient. In one run: `omp` with signed and with non-negative weights in
float32, and scikit-learn's `orthogonal_mp_gram(G + lam I, c)` in float64. Medians after a warm-up,
compilation apart; E_lam of every answer is computed in float64 from its atoms and weights. The Gram
matrix is given: no time counts for it.

Targets on two CPU cores: at k = 50 at least 20 times as fast as scikit-learn, level at k = 500,
6 times at k = 1500, with an E_lam that is no worse. The paper has no such figure.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import orthogonal_mp_gram

from experiments.records import append, stamp
from gradmatch_jax.gradients import last_layer_gradients, per_gradient
from gradmatch_jax.measure.clock import lap
from gradmatch_jax.solvers.pursuit import omp


@dataclass(frozen=True)
class OMPBenchmark:
    """The problem and how often to time it."""

    n: int = 5000
    d: int = 513
    budgets: tuple[int, ...] = (50, 500, 1500)
    lam: float = 0.5
    npz: Path | None = None
    """logits (n, C), features (n, E), labels (n,): real gradients instead of Gaussian atoms."""
    label: int = 0
    """The class whose first n examples are taken from --npz."""
    repeats: int = 5
    slow_repeats: int = 3
    """Of scikit-learn at budgets of 1000 and more."""
    seed: int = 0
    results: Path = Path("results/omp_benchmark.jsonl")


class Problem:
    """A Gram problem in float64 on the host, and E_lam of any answer to it."""

    def __init__(self, atoms: Float[np.ndarray, "n d"], lam: float):
        target = atoms.sum(axis=0)
        self.gram, self.correlations = atoms @ atoms.T, atoms @ target
        self.target_sq_norm = float(target @ target)
        self.atoms, self.target, self.lam = atoms, target, lam

    def objective(self, indices: Int[np.ndarray, "k"], weights: Float[np.ndarray, "k"]) -> float:
        """E_lam = ‖sum w g - target‖² + lam ‖w‖², in the space of the atoms."""
        weights = np.asarray(weights, np.float64)
        miss = weights @ self.atoms[indices] - self.target
        return float(miss @ miss + self.lam * weights @ weights)


def main(args: OMPBenchmark) -> None:
    """Time every solver at every budget."""
    atoms = gaussian(args) if args.npz is None else real(args)
    problem = Problem(atoms, args.lam)
    name = "Gaussian" if args.npz is None else args.npz.name
    head = stamp(args, packages=["scikit-learn"], atoms=name, shape=atoms.shape)
    records = []
    for budget in args.budgets:
        oracle = scikit_learn(problem, budget, args)
        records.append(oracle | {"speed_up": 1.0, "objective_ratio": 1.0})
        for nonnegative in (False, True):
            ours = jax_omp(problem, budget, nonnegative, args)
            records.append(ours | compare(ours, oracle))
    for record in records:
        append(args.results, record | head)
    Console().print(table(records))


def gaussian(args: OMPBenchmark) -> Float[np.ndarray, "n d"]:
    """Independent standard normal atoms."""
    return np.random.default_rng(args.seed).standard_normal((args.n, args.d))


def real(args: OMPBenchmark) -> Float[np.ndarray, "n 1+E"]:
    """Last-layer gradients of a class's first n examples, cut to the class's own column."""
    assert args.npz is not None
    with np.load(args.npz) as file:
        rows = np.flatnonzero(file["labels"] == args.label)[: args.n]
        logits, features, labels = (
            jnp.asarray(file[k][rows]) for k in ("logits", "features", "labels")
        )
    gradients = last_layer_gradients(logits, features, labels)
    residuals, features = per_gradient(gradients, labels)
    residuals, features = (np.asarray(x, np.float64) for x in (residuals, features))
    return residuals * np.concatenate([np.ones_like(residuals), features], axis=1)


def jax_omp(problem: Problem, budget: int, nonnegative: bool, args: OMPBenchmark) -> dict[str, Any]:
    """Our solver in float32; the arrays lie on the device already."""
    gram, correlations = (jnp.asarray(x, jnp.float32) for x in (problem.gram, problem.correlations))

    def solve():
        answer = omp(
            gram, correlations, problem.target_sq_norm, budget,
            lam=args.lam, nonnegative=nonnegative,
        )  # fmt: skip
        return jax.block_until_ready(answer)

    with lap() as read:
        answer = solve()
    size = int(answer.size)
    indices, weights = np.asarray(answer.indices)[:size], np.asarray(answer.weights)[:size]
    return {
        "solver": "omp, w >= 0" if nonnegative else "omp, signed",
        "k": budget,
        "size": size,
        **timed(solve, args.repeats),
        "compile_seconds": read().compile,
        "objective": problem.objective(indices, weights),
    }


def scikit_learn(problem: Problem, budget: int, args: OMPBenchmark) -> dict[str, Any]:
    """The oracle: signed OMP in float64."""
    gram = problem.gram + args.lam * np.eye(len(problem.gram))

    def solve():
        return orthogonal_mp_gram(gram, problem.correlations, n_nonzero_coefs=budget)

    weights = np.asarray(solve())
    indices = np.flatnonzero(weights)
    repeats = args.slow_repeats if budget >= 1000 else args.repeats
    return {
        "solver": "scikit-learn",
        "k": budget,
        "size": len(indices),
        **timed(solve, repeats),
        "compile_seconds": 0.0,
        "objective": problem.objective(indices, weights[indices]),
    }


def timed(solve: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Median and all times of `solve`, which has been called once before."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        solve()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "all_seconds": seconds}


def compare(ours: dict[str, Any], oracle: dict[str, Any]) -> dict[str, float]:
    """How many times as fast, and E_lam over the oracle's."""
    return {
        "speed_up": oracle["seconds"] / ours["seconds"],
        "objective_ratio": ours["objective"] / oracle["objective"],
    }


def table(records: list[dict[str, Any]]) -> Table:
    """The records, one a row."""
    result = Table(title="OMP on one Gram problem")
    result.add_column("solver", no_wrap=True)
    for name in ("k", "size", "seconds", "compile", "E_lam", "faster", "E ratio"):
        result.add_column(name, justify="right")
    for r in records:
        result.add_row(
            r["solver"], str(r["k"]), str(r["size"]), f"{r['seconds']:.4f}",
            f"{r['compile_seconds']:.1f}", f"{r['objective']:.6g}", f"{r['speed_up']:.2f}",
            f"{r['objective_ratio']:.4f}",
        )  # fmt: skip
    return result


if __name__ == "__main__":
    sys.exit(main(tyro.cli(OMPBenchmark)))
