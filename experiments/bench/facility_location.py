"""Our facility location against apricot's and submodlib's on one similarity matrix.

    python -m experiments.bench.facility_location
    python -m experiments.bench.facility_location --npz FILE_WITH_LOGITS_FEATURES_LABELS

n = 5000 examples, k = 500, s_ij = max d - d_ij of Gaussian points or, with --npz (the gradients.npz
that `experiments.bench.cifar10_selection` caches, say), of a class's own last-layer gradients: a
CRAIG problem. In one run: `facility_location` in float32, apricot's FacilityLocationSelection with
its lazy and its default optimizer, submodlib's LazyGreedy in C++. Medians after a warm-up,
compilation and building apart. All are given the same matrix, and F of every answer is computed
from its picks in float64; "faster" is how many times as fast ours is. A library that is not
installed is left out with a note. apricot compiles anew in every fit: the time of a fit of 50
examples, which is all compilation, is taken off its seconds.

Target on two CPU cores: faster than each of them, with the same F.
"""

import importlib.util
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console

from experiments.bench.problems import class_gradients, gaussian
from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.gradients import gram
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.solvers.facility_location import (
    facility_location,
    similarities_of,
    squared_distances,
)

PACKAGES = {"apricot": "apricot-select", "submodlib": "submodlib-py"}  # module: distribution


@dataclass(frozen=True)
class FacilityLocationBenchmark:
    """The problem and how often to time it."""

    n: int = 5000
    d: int = 64
    """Dimensions of the Gaussian points."""
    budgets: tuple[int, ...] = (500,)
    npz: Path | None = None
    """logits (n, C), features (n, E), labels (n,): real gradients instead of Gaussian points."""
    label: int = 0
    """The class whose first n examples are taken from --npz."""
    solvers: tuple[Literal["apricot", "submodlib"], ...] = ("submodlib", "apricot")
    repeats: int = 5
    slow_repeats: int = 3
    """Of apricot, which compiles at every one."""
    seed: int = 0
    quick: bool = False
    """A small problem, once: a rehearsal."""
    results: Path = Path("results/facility_location_benchmark.jsonl")


QUICK = {"n": 80, "d": 8, "budgets": (10,), "repeats": 1, "slow_repeats": 1}


def main(args: FacilityLocationBenchmark) -> None:
    """Time every solver at every budget."""
    args = quickened(args, **QUICK) if args.quick else args
    similarities = similarity_matrix(args)
    data = "Gaussian" if args.npz is None else args.npz.name
    packages = [PACKAGES[name] for name in found(args)]
    start = time.perf_counter()
    records = []
    for budget in args.budgets:
        ours = jax_greedy(similarities, budget, args)
        for record in (ours, *libraries(similarities, budget, args)):
            records.append(record | compare(record, ours))
            head = stamp(args, start, packages=packages, data=data, n=len(similarities))
            append(args.results, records[-1] | head)
    show(rich_table(COLUMNS, records, title="Facility location, one similarity matrix"))


def similarity_matrix(args: FacilityLocationBenchmark) -> Float[np.ndarray, "n n"]:
    """max d - d_ij in float32, by the library's own Gram matrix."""
    if args.npz is None:
        atoms = jnp.asarray(gaussian(args.n, args.d, args.seed), jnp.float32)
    else:
        atoms, _ = class_gradients(args.npz, args.label, args.n)
    products = gram(atoms)
    valid = jnp.ones((1, len(products)), bool)
    return np.array(jax.jit(similarities_of)(squared_distances(products[None]), valid)[0])


def found(args: FacilityLocationBenchmark) -> list[str]:
    """Those of the libraries asked for that are installed."""
    return [name for name in args.solvers if importlib.util.find_spec(name)]


def jax_greedy(similarities, budget: int, args: FacilityLocationBenchmark) -> dict[str, Any]:
    """Our solver; the matrix lies on the device already."""
    given = jnp.asarray(similarities)

    answer, times = timed(lambda: facility_location(given, budget), args.repeats)
    return record("facility_location", similarities, answer.indices, budget) | times


def libraries(similarities, budget: int, args) -> Iterator[dict[str, Any]]:
    """The libraries that are installed, each with what it takes to build its object apart."""
    for name in args.solvers:
        if name not in found(args):
            Console().print(f"{name} is not installed: left out (pip install {PACKAGES[name]})")
        elif name == "submodlib":
            yield submodlib(similarities, budget, args)
        else:
            for optimizer in ("lazy", "two-stage"):
                yield apricot(similarities, budget, optimizer, args)


def submodlib(similarities, budget: int, args: FacilityLocationBenchmark) -> dict[str, Any]:
    """Lazy greedy in C++; it accumulates in double precision."""
    from submodlib import FacilityLocationFunction  # pyright: ignore[reportMissingImports]

    start = time.perf_counter()
    problem = FacilityLocationFunction(
        n=len(similarities), mode="dense", sijs=similarities, separate_rep=False
    )
    built = time.perf_counter() - start

    def solve():
        return problem.maximize(
            budget, "LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False,
            show_progress=False,
        )  # fmt: skip

    answer, times = timed(solve, args.repeats)
    picks = [i for i, _ in answer]
    found = record("submodlib LazyGreedy", similarities, picks, budget)
    return found | times | {"compile_seconds": built}


def apricot(similarities, budget: int, optimizer: str, args) -> dict[str, Any]:
    """numba; "two-stage" is its default: some naive picks, then lazy ones."""
    from apricot import FacilityLocationSelection  # pyright: ignore[reportMissingImports]

    given = similarities.astype(np.float64)  # what it computes in

    def solve(budget=budget, matrix=given):
        selector = FacilityLocationSelection(budget, metric="precomputed", optimizer=optimizer)
        return selector.fit(matrix).ranking

    few = given[:50, :50].copy()
    _, small = timed(lambda: solve(5, few), 1)
    compiled = small["seconds"]  # at every fit, whatever its size
    answer, times = timed(solve, args.slow_repeats)
    seconds = [max(s - compiled, 0.0) for s in times["all_seconds"]]
    return record(f"apricot {optimizer}", similarities, answer, budget) | {
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "compile_seconds": compiled,
    }


def record(solver: str, similarities, picks, budget: int) -> dict[str, Any]:
    """What is kept of an answer: F in float64."""
    picks = np.asarray(picks)
    objective = similarities[picks].max(axis=0).sum(dtype=np.float64)
    size = len(set(picks.tolist()))
    return {"solver": solver, "k": budget, "size": size, "objective": float(objective)}


def compare(other: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    """How many times as fast ours is, and our F over the other's."""
    return {
        "speed_up": other["seconds"] / ours["seconds"],
        "objective_ratio": ours["objective"] / other["objective"],
    }


COLUMNS = fields(
    solver="{}", k="{}", seconds="{:.4f}", compile_seconds="{:.1f}", objective="{:.7g}",
    speed_up="{:.1f}", objective_ratio="{:.5f}",
)  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore", SyntaxWarning)  # apricot's docstrings
    command(main, FacilityLocationBenchmark)
