"""GRAD-MATCH here and in CORDS 0.0.4, its PyTorch implementation, on the same gradients.

    python -m experiments.bench.against_cords --env FOLDER [--data-dir MNIST] [--npz CIFAR10_CACHE]

Makes an environment for CORDS in --env (cords-requirements.txt, then CORDS with --no-deps; Python
3.11), or takes the Python that --cords-python names. Then

* matching: one class of gradients (random ones; with --data-dir those of a LeNet that trained an
  epoch on MNIST, per-gradient; with --npz a class of a gradients.npz that
  `experiments.bench.cifar10_selection` cached) and their sum go to both sides. Recorded: seconds,
  ‖sum w g - t‖² + lam ‖w‖² in float64 of the indices and weights that come back, ‖sum w g - t‖ /
  ‖t‖, how many atoms have a weight, and `refitted`: the same error after SciPy's NNLS on the very
  indices. Where `error` is far above `refitted` the weights are not those of the indices.
* training: one LeNet run (needs --data-dir): the same initial parameters, data, budget, weighted
  SGD and order of the batches, selections by each side's own per-class-per-gradient method.

CORDS's default solver ("default", with this lam) re-picks atoms it has, and so its weights come
apart from its indices; "older" is what it takes on the device "cpu", without ridge. Both sides run
on --threads cores, one after the other; ours is timed after a first call, which compiles.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from experiments.bench import cords_run
from experiments.bench.problems import class_gradients, gaussian
from experiments.bench.timing import timed
from experiments.bench.torch_environment import ask, environment, pin
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.selection.subset import select_subset


@dataclass(frozen=True)
class AgainstCords:
    """The problems, the run and the other side's Python."""

    env: Path | None = None
    """Folder of an environment for CORDS, made if it is not there (some gigabytes)."""
    cords_python: Path | None = None
    """A Python that has cords, torch and scipy, in place of --env."""
    base_python: Path | None = None
    """The Python 3.11 that --env is made with; None: python3.11 on PATH."""
    data_dir: Path | None = None
    """MNIST's files."""
    npz: Path | None = None
    """logits, features, labels of CIFAR-10 and a ResNet-18."""
    n: int = 5000
    d: int = 513
    """Length of the random atoms."""
    budgets: tuple[int, ...] = (50, 500)
    solvers: tuple[Literal["default", "older"], ...] = ("default", "older")
    label: int = 1
    lam: float = 0.5
    eps: float = 1e-10
    epochs: int = 10
    select_every: int = 5
    fraction: float = 0.05
    batch: int = 20
    lr: float = 0.01
    limit: int | None = None
    """Only the first so many training images of the run."""
    threads: int = 1
    repeats: int = 3
    seed: int = 0
    quick: bool = False
    """Small random atoms, one budget: a rehearsal."""
    results: Path = Path("results/against_cords.jsonl")


QUICK = {
    "n": 120, "d": 20, "budgets": (12,), "repeats": 1, "epochs": 2, "select_every": 1,
    "limit": 600,
}  # fmt: skip


def main(args: AgainstCords) -> None:
    """Match every problem at every budget on both sides, then train."""
    args = quickened(args, **QUICK) if args.quick else args
    if args.cords_python is None and args.env is None:
        raise UserError("--env is missing: a folder for CORDS's environment, made if it is empty")
    start = time.perf_counter()
    pin(args.threads)
    python = args.cords_python or environment(args.env or Path(), args.base_python)
    records = []
    for data, atoms in problems(args).items():
        for budget in args.budgets:
            for record in matched(python, atoms, budget, args):
                records.append({"data": data, "k": budget} | record)
                append(args.results, {"step": "match"} | records[-1] | stamp(args, start))
    show(rich_table(MATCHED, records, title="The same atoms and target"))
    if args.data_dir is not None:
        runs = cords_run.both(python, args)
        for record in runs:
            append(args.results, {"step": "train"} | record | stamp(args, start))
        show(rich_table(TRAINED, runs, title="The same LeNet run"))


def problems(args: AgainstCords) -> dict[str, Float[np.ndarray, "n d"]]:
    """Dense atoms of each problem, by name."""
    found = {"random": gaussian(args.n, args.d, args.seed).astype(np.float32)}
    if args.data_dir is not None:
        found["mnist"] = own_gradients(*cords_run.class_of_mnist(args), args.n)
    if args.npz is not None:
        gradients, _ = class_gradients(args.npz, args.label, args.n)
        found[args.npz.stem] = own_gradients(gradients, args.label, args.n)
    return found


def own_gradients(gradients: LastLayerGradients, label: int, n: int) -> Float[np.ndarray, "n d"]:
    """Per-gradient atoms of a class: its own residual times [1, features]."""
    own, features = np.asarray(gradients.residuals)[:n, label], np.asarray(gradients.features)[:n]
    return own[:, None] * np.concatenate([np.ones((len(own), 1), np.float32), features], axis=1)


def matched(
    python: Path, atoms: Float[np.ndarray, "n d"], budget: int, args: AgainstCords
) -> list[dict[str, Any]]:
    """One problem on both sides; ours first."""
    target = atoms.sum(axis=0)
    given = jnp.asarray(atoms)

    def solve():
        return select_subset(given, budget, lam=args.lam, eps=args.eps, fill="none")

    answer, times = timed(solve, args.repeats)
    size = int(answer.size)
    rows, weights = np.asarray(answer.indices)[:size], np.asarray(answer.weights)[:size]
    mine = {"side": "gradmatch_jax"} | judged(atoms, target, rows, weights, args.lam) | times
    records = [mine | {"times_ours": 1.0}]
    with tempfile.TemporaryDirectory() as folder:
        npz, out = Path(folder) / "problem.npz", Path(folder) / "answer.npz"
        np.savez(npz, atoms=atoms, target=target)
        for solver in args.solvers:
            question = {
                "work": "solve", "npz": str(npz), "out": str(out), "budget": budget,
                "lam": args.lam, "eps": args.eps, "solver": solver, "threads": args.threads,
            }  # fmt: skip
            figures = ask(python, "cords_side.py", question, threads=args.threads)
            with np.load(out) as file:
                judgement = judged(atoms, target, file["indices"], file["weights"], args.lam)
            faster = {"times_ours": figures["seconds"] / times["seconds"]}
            records.append({"side": f"cords {solver}"} | judgement | figures | faster)
    return records


def judged(atoms, target, rows, weights, lam: float) -> dict[str, Any]:
    """What an answer is worth in float64, and what its indices are with the best weights."""
    dense, goal = atoms[rows].astype(np.float64), target.astype(np.float64)
    weights = np.asarray(weights, np.float64)
    residual = weights @ dense - goal
    ridge = np.sqrt(lam) * np.eye(len(rows))
    best, _ = nnls(
        np.concatenate([dense.T, ridge]), np.concatenate([goal, np.zeros(len(rows))]),
        maxiter=30 * max(len(rows), 10),
    ) if len(rows) else (weights, 0.0)  # fmt: skip
    norm = np.linalg.norm(goal)
    return {
        "matched": int(np.sum(weights > 0)),
        "objective": float(residual @ residual + lam * weights @ weights),
        "error": float(np.linalg.norm(residual) / norm),
        "refitted": float(np.linalg.norm(best @ dense - goal) / norm),
    }


MATCHED = fields(
    data="{}", k="{}", side="{}", seconds="{:.3f}", times_ours="{:.1f}", matched="{}",
    objective="{:.4g}", error="{:.2e}", refitted="{:.2e}",
)  # fmt: skip
TRAINED = fields(
    side="{}", accuracy="{:.2f}", selecting="{:.2f}", training="{:.2f}", selections="{}",
    shared="{:.2f}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, AgainstCords)
