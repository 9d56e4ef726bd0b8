"""Our OMP against scikit-learn's on one Gram problem: time and objective.

    python -m experiments.bench.omp
    python -m experiments.bench.omp --npz FILE_WITH_LOGITS_FEATURES_LABELS

n = 5000 atoms in d = 513 dimensions, the target their sum, lam = 0.5. The atoms are Gaussian; with
--npz (the gradients.npz that `experiments.bench.cifar10_selection` caches, say) they are a class's
own last-layer gradients, per gradient. In one run: `omp` with signed and with non-negative weights
in float32, and scikit-learn's `orthogonal_mp_gram(G + lam I, c)` in float64. Medians after a warm-
up, compilation apart; E_lam of every answer is computed in float64 from its atoms and weights. The
Gram matrix is given: no time counts for it.

Targets on two CPU cores: at k = 50 at least 20 times as fast as scikit-learn, level at k = 500,
6 times at k = 1500, with an E_lam that is no worse. The paper has no such figure.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import orthogonal_mp_gram

from experiments.bench.problems import class_gradients, gaussian
from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.gradients import per_gradient
from gradmatch_jax.report.tables import rich_table
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
    quick: bool = False
    """A small problem, once: a rehearsal."""
    results: Path = Path("results/omp_benchmark.jsonl")


QUICK = {"n": 60, "d": 20, "budgets": (10,), "repeats": 1, "slow_repeats": 1}


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
    args = quickened(args, **QUICK) if args.quick else args
    atoms = gaussian(args.n, args.d, args.seed) if args.npz is None else real(args)
    problem = Problem(atoms, args.lam)
    name = "Gaussian" if args.npz is None else args.npz.name
    start = time.perf_counter()
    records = []
    for budget in args.budgets:
        oracle = scikit_learn(problem, budget, args)
        records.append(oracle | {"speed_up": 1.0, "objective_ratio": 1.0})
        for nonnegative in (False, True):
            ours = jax_omp(problem, budget, nonnegative, args)
            records.append(ours | compare(ours, oracle))
    head = stamp(args, start, packages=["scikit-learn"], atoms=name, shape=atoms.shape)
    for record in records:
        append(args.results, record | head)
    show(rich_table(COLUMNS, records, title="OMP on one Gram problem"))


def real(args: OMPBenchmark) -> Float[np.ndarray, "n 1+E"]:
    """Last-layer gradients of a class's first n examples, cut to the class's own column."""
    assert args.npz is not None
    gradients, labels = class_gradients(args.npz, args.label, args.n)
    residuals, features = per_gradient(gradients, jnp.asarray(labels))
    residuals, features = (np.asarray(x, np.float64) for x in (residuals, features))
    return residuals * np.concatenate([np.ones_like(residuals), features], axis=1)


def jax_omp(problem: Problem, budget: int, nonnegative: bool, args: OMPBenchmark) -> dict[str, Any]:
    """Our solver in float32; the arrays lie on the device already."""
    gram, correlations = (jnp.asarray(x, jnp.float32) for x in (problem.gram, problem.correlations))

    def solve():
        return omp(
            gram, correlations, problem.target_sq_norm, budget,
            lam=args.lam, nonnegative=nonnegative,
        )  # fmt: skip

    answer, times = timed(solve, args.repeats)
    size = int(answer.size)
    indices, weights = np.asarray(answer.indices)[:size], np.asarray(answer.weights)[:size]
    return {
        "solver": "omp, w >= 0" if nonnegative else "omp, signed",
        "k": budget,
        "size": size,
        **times,
        "objective": problem.objective(indices, weights),
    }


def scikit_learn(problem: Problem, budget: int, args: OMPBenchmark) -> dict[str, Any]:
    """The oracle: signed OMP in float64."""
    gram = problem.gram + args.lam * np.eye(len(problem.gram))

    def solve():
        return orthogonal_mp_gram(gram, problem.correlations, n_nonzero_coefs=budget)

    weights, times = timed(solve, args.slow_repeats if budget >= 1000 else args.repeats)
    weights = np.asarray(weights)
    indices = np.flatnonzero(weights)
    return {
        "solver": "scikit-learn",
        "k": budget,
        "size": len(indices),
        **times,
        "objective": problem.objective(indices, weights[indices]),
    }


def compare(ours: dict[str, Any], oracle: dict[str, Any]) -> dict[str, float]:
    """How many times as fast, and E_lam over the oracle's."""
    return {
        "speed_up": oracle["seconds"] / ours["seconds"],
        "objective_ratio": ours["objective"] / oracle["objective"],
    }


COLUMNS = fields(
    solver="{}", k="{}", size="{}", seconds="{:.4f}", compile_seconds="{:.1f}",
    objective="{:.6g}", speed_up="{:.2f}", objective_ratio="{:.4f}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, OMPBenchmark)
