"""Runs as `sweep` gives them, made up, and their cells in the comparison's table."""

from gradmatch_jax.report.columns import COMPARISON


def make_run(strategy="gradmatch", fraction=0.1, seed=0, *, warm=False, accuracy=90.0, **changes):
    """A run as `compare` returns it: three epochs, the first not tested."""
    log = [
        {"epoch": e, "train_seconds": 0.5 * (e + 1) + seed, "selection_seconds": 0.25}
        for e in range(3)
    ]
    log[1]["test_accuracy"], log[2]["test_accuracy"] = accuracy - 10 - seed, accuracy
    return {
        "strategy": strategy,
        "fraction": fraction,
        "warm": warm,
        "seed": seed,
        "test_accuracy": accuracy,
        "train_seconds": 1.0 + seed,
        "selection_seconds": 0.25,
        "compile_seconds": 100.0,
        "matching_error": [0.5, 0.1 + seed],
        "dataset": "digits",
        "model": "mlp",
        "epochs": 3,
        "examples": 3 * 1000 * fraction,
        "batch_size": 20,
        "train_size": 1294,
        "device": "Some CPU (2 cores)",
        "versions": {"python": "3.12", "jax": "0.10"},
        "log": log,
    } | changes


def make_runs():
    full = [
        make_run("full", 1.0, s, accuracy=95.0 + s, matching_error=[], train_seconds=10.55)
        for s in (0, 1)
    ]
    rest = [
        make_run(name, fraction, s, warm=warm, accuracy=90.0 + 2 * s)
        for fraction in (0.1, 0.05)
        for name, warm in (("random", False), ("gradmatch", False), ("gradmatch", True))
        for s in (0, 1)
    ]
    return rest + full


def cells(row):
    return [column.cell(row) for column in COMPARISON]


def failed_run(kind="diverged", reason="the training loss is nan", **changes):
    run = make_run(**changes)
    kept = ("strategy", "fraction", "warm", "seed", "dataset", "model", "batch_size", "log")
    failed = {"kind": kind, "reason": reason, "epoch": 2}
    return {name: run[name] for name in kept} | {"failed": failed}
