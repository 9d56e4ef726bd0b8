"""A grid of runs: its plan as a table, who does what, what is read back, what failed."""

import dataclasses
import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.sweep import FAILED, Grid, plan, sweep
from gradmatch_jax.training import loop
from gradmatch_jax.training.claim import claim
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.records import FailureRecord, mismatches

SMALL = TrainConfig(model="logistic", epochs=2, eval_every=1)


def names(grid: Grid) -> list[str]:
    return [job.folder.relative_to("runs/digits").as_posix() for job in plan(grid, Path("runs"))]


def test_the_plan_is_every_run_once():
    grid = Grid(SMALL, ("full", "random", "random-warm", "random"), (0.1, 0.2), (0, 1))
    one = ["full-1-seed{}", "random-0.1-seed{}", "random-0.2-seed{}"]
    one += ["random-warm-0.1-seed{}", "random-warm-0.2-seed{}"]
    assert names(grid) == [name.format(seed) for seed in (0, 1) for name in one]


def test_a_variant_sets_anything_and_is_in_the_name():
    grid = Grid(SMALL, ("gradmatch",), variants=({"select_every": 5}, {"lam": 0.1, "kappa": 0.2}))
    assert names(grid) == [
        "gradmatch-0.1-seed0-select_every-5", "gradmatch-0.1-seed0-lam-0.1",
    ], "kappa is a warm run's"  # fmt: skip
    whole = dataclasses.replace(grid, strategies=("full", "gradmatch-warm"))
    assert names(whole) == [
        "full-1-seed0", "gradmatch-warm-0.1-seed0-select_every-5",
        "gradmatch-warm-0.1-seed0-lam-0.1-kappa-0.2",
    ]  # fmt: skip
    configs = [job.config for job in plan(grid, Path("runs"))]
    assert [(c.select_every, c.lam) for c in configs] == [(5, 0.5), (20, 0.1)]
    with pytest.raises(UserError, match="lamda: no such setting"):
        plan(dataclasses.replace(grid, variants=({"lamda": 1},)), Path("runs"))


def test_data_is_read_again_only_where_it_differs(tmp_path, monkeypatch):
    from gradmatch_jax.training import build

    read, original = [], build.load
    monkeypatch.setattr(build, "load", lambda c: read.append(c.seed) or original(c))
    grid = Grid(SMALL, ("random", "full"), (0.1,), (0, 1))
    assert len(list(sweep(plan(grid, tmp_path)))) == 4
    assert read == [0, 1]
    assert len(list(sweep(plan(grid, tmp_path)))) == 4
    assert read == [0, 1], "finished runs need no data"


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (UserError("the selection is empty"), "failed", "the selection is empty"),
        (FloatingPointError("nan in f"), "diverged", "FloatingPointError: nan in f"),
        (RuntimeError("out of\n memory"), "failed", "RuntimeError: out of memory"),
    ],
)
def test_a_failure_is_recorded_and_read_back(tmp_path, monkeypatch, error, kind, reason):
    jobs = plan(Grid(SMALL, ("random", "full")), tmp_path)
    original = loop.train

    def train(config, out, **kwargs):
        if config.strategy == "full":
            return original(config, out, **kwargs)

        def stop(row, total):
            raise error

        return original(config, out, **(kwargs | {"on_epoch": stop}))

    monkeypatch.setattr(loop, "train", train)
    first, whole = (finished.row for finished in sweep(jobs))
    assert first["failed"] == {"kind": kind, "reason": reason, "epoch": 1}
    assert whole["test_accuracy"] > 0
    stored = json.loads((jobs[0].folder / FAILED).read_text())
    assert mismatches(stored, FailureRecord, FAILED) == []
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("nothing is left to run"))
    assert [finished.row for finished in sweep(jobs)] == [first, whole]


@pytest.mark.parametrize("error", [OSError("disk full"), TypeError("a mistake")])
def test_what_would_meet_every_run_stops_the_sweep(tmp_path, monkeypatch, error):
    def train(*args, **kwargs):
        raise error

    monkeypatch.setattr(loop, "train", train)
    jobs = plan(Grid(SMALL, ("random",)), tmp_path)
    with pytest.raises(type(error)):
        list(sweep(jobs))
    assert not (jobs[0].folder / FAILED).exists()


def test_what_another_process_runs_is_left_to_it(tmp_path):
    jobs = plan(Grid(SMALL, ("random", "full")), tmp_path)
    with claim(jobs[0].folder) as mine:
        assert mine
        found = [finished.job.label for finished in sweep(jobs, wait=False)]
    assert found == ["full"]


def test_what_is_waited_for_comes_last(tmp_path, monkeypatch):
    jobs = plan(Grid(SMALL, ("random", "full")), tmp_path)
    original, asked = fcntl.flock, []

    def flock(file, how):
        if file.name.endswith(".lock") and Path(file.name).parent.name == "digits":
            asked.append(bool(how & fcntl.LOCK_NB))
        if len(asked) == 1:
            raise BlockingIOError
        original(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert [finished.job.label for finished in sweep(jobs)] == ["full", "random"]
    assert asked == [True, True, False]


def test_the_lock_of_a_dead_process_is_no_obstacle(tmp_path):
    code = "import os, pathlib, sys; from gradmatch_jax.training.claim import claim\n"
    code += "with claim(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert tmp_path.with_name(f".{tmp_path.name}.lock").exists()
    with claim(tmp_path) as mine:
        assert mine
        with claim(tmp_path) as again:
            assert not again


def test_a_run_is_held_while_the_caller_has_it(tmp_path):
    (job,) = plan(Grid(SMALL, ("random",)), tmp_path)
    for finished in sweep([job]):
        with claim(finished.job.folder) as mine:
            assert not mine
    with claim(job.folder) as mine:
        assert mine
