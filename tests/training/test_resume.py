"""Runs killed with -9 and taken up again end as runs left alone, to the last bit."""

import importlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gradmatch_jax.training.checkpoints import Place, places
from toys import LONG, needs_grain

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import json, sys
from pathlib import Path
import jax, numpy as np
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
state = train(TrainConfig(**json.loads(sys.argv[1])), Path(sys.argv[2])).state
leaves = jax.tree.leaves((state.learner, state.selection, state.strategy, int(state.epoch)))
raw = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
np.savez(sys.argv[3], *(np.asarray(raw(jax.numpy.asarray(leaf))) for leaf in leaves))
"""
RUNS: dict[str, dict[str, object]] = {  # 18 epochs each
    "gradmatch-warm": {
        "strategy": "gradmatch-warm", "epochs": 34, "fraction": 0.05, "select_every": 3,
    },
    # The other network has dropout: its keys are part of what is restored.
    "adaptive-random": {
        "strategy": "adaptive-random", "epochs": 18, "fraction": 0.1, "model": "mnistnet",
    },
    # Saved within their epochs, and killed there.
    "gradmatch-pb-warm, within": {
        "strategy": "gradmatch-pb-warm", "epochs": 34, "fraction": 0.05, "select_every": 3,
        "checkpoint_steps": 1,
    },
    "infobatch, within": {"strategy": "infobatch", "epochs": 18, "checkpoint_steps": 10},
    "adaptive-random, within": {
        "strategy": "adaptive-random", "epochs": 18, "fraction": 0.1, "model": "mnistnet",
        "checkpoint_steps": 2,
    },
    # Pictures from disk, by grain.
    "streamed, within": {
        "dataset": "imagenet", "image_size": 16, "model": "logistic", "strategy": "adaptive-random",
        "epochs": 18, "fraction": 0.5, "batch_size": 4, "checkpoint_steps": 2,
    },
}  # fmt: skip
EPOCHS = 18
RARE = ("adaptive-random", "infobatch, within")  # `.ci/more` has these too
STREAMED = [name for name in RUNS if "dataset" in RUNS[name]]


class Runner:
    """Starts runs of one configuration in processes of their own."""

    def __init__(self, settings, folder):
        common = {"checkpoint_seconds": 0, "eval_every": 4}
        self.settings = json.dumps(settings | common)
        # The children share what they compile; a run left alone fills this cache first.
        self.env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def start(self, out, arrays):
        command = [sys.executable, "-c", CHILD, self.settings, str(out), str(arrays)]
        with (out.parent / f"{out.name}.log").open("a") as log:
            return subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def finish(self, out):
        """Run to the end; the arrays of the final state."""
        arrays = out.parent / f"{out.name}.npz"
        process = self.start(out, arrays)
        try:
            code = process.wait(timeout=300)
        finally:
            process.kill()
        assert code == 0, (out.parent / f"{out.name}.log").read_text()[-3000:]
        with np.load(arrays) as file:
            return [file[name] for name in file.files]

    def kill_after(self, out, rows, delay, within):
        """Kill a run `delay` seconds after its log has reached `rows` rows; the rows it left.

        within: and its last checkpoint is within an epoch.
        """
        process, deadline = self.start(out, out.parent / "never.npz"), time.monotonic() + 300
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if rows_in(out) >= rows and (not within or last_place(out).step):
                    break
                time.sleep(0.002)
            time.sleep(delay)
        finally:
            process.send_signal(signal.SIGKILL)
            code = process.wait()
        log = (out.parent / f"{out.name}.log").read_text()[-3000:]
        assert code == -signal.SIGKILL, f"ended before it could be killed ({code}):\n{log}"
        return rows_in(out)


def rows_in(out):
    log = out / "metrics.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def last_place(out):
    """Of its last checkpoint."""
    try:
        return next(iter(places(out / "checkpoints")), Place(0))
    except FileNotFoundError:  # an older one, just removed
        return Place(0)


def interrupt_and_resume(name, folder):
    """(arrays of a run left alone, arrays of one killed twice, where it was killed)."""
    more = {"data_dir": str(pictures(folder / "pictures"))} if name in STREAMED else {}
    runner = Runner(RUNS[name] | more, folder)
    alone = runner.finish(folder / "alone")
    kills, left, within = [], 0, "checkpoint_steps" in RUNS[name]
    for _ in range(2):
        rows, delay = left + random.randint(1, 2), random.uniform(0, 0.02 if within else 0.1)
        left = runner.kill_after(folder / "killed", rows, delay, within)
        kills.append((rows, delay, left, last_place(folder / "killed").name))
    assert not within or any("-" in place for *_, place in kills), kills
    return alone, runner.finish(folder / "killed"), kills


def pictures(folder):
    """In ImageNet's layout: sixty to train on, of three classes."""
    image = importlib.import_module("PIL.Image")
    rng = np.random.default_rng(0)
    for part, rows in (("train", 20), ("val", 2)):
        for label in range(3):
            (folder / part / f"n{label}").mkdir(parents=True)
            for row in range(rows):
                pixels = rng.integers(60 * label, 60 * label + 120, (20, 24, 3), dtype=np.uint8)
                image.fromarray(pixels).save(folder / part / f"n{label}" / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two kinds at once, one on each of two cores."""
    readable = all(map(importlib.util.find_spec, ("grain", "PIL")))
    left_out = RARE if LONG.args[0] else ()
    names = [name for name in RUNS if readable or name not in STREAMED]
    names = [name for name in names if name not in left_out]
    folders = {name: tmp_path_factory.mktemp(name) for name in names}
    with ThreadPoolExecutor(2) as pool:
        pending = {
            name: pool.submit(interrupt_and_resume, name, folder)
            for name, folder in folders.items()
        }
        return {name: (*future.result(), folders[name]) for name, future in pending.items()}


def read(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return rows, json.loads((folder / "result.json").read_text())


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=LONG if name in RARE else ()) for name in RUNS]
)
def test_killed_runs_end_as_runs_left_alone(runs, name):
    if name in STREAMED:
        needs_grain()
        pytest.importorskip("PIL", reason="the imagenet extra is not installed")
    alone, killed, kills, folder = runs[name]
    print(f"killed at (rows waited for, delay, rows left, checkpoint): {kills}")
    assert 0 < kills[0][2] < EPOCHS
    assert int(alone[-1]) == int(killed[-1]) == EPOCHS
    assert len(alone) == len(killed)
    for a, b in zip(alone, killed, strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b, equal_nan=True), kills

    rows, result = read(folder / "killed")
    alone_rows, alone_result = read(folder / "alone")
    assert [row["epoch"] for row in rows] == list(range(EPOCHS)), kills
    for row, expected in zip(rows, alone_rows, strict=True):
        for key in ("full", "lr", "train_loss", "examples", "test_accuracy"):
            assert row.get(key) == expected.get(key)
        found, wanted = row.get("selection"), expected.get("selection")
        assert (found is None) == (wanted is None)
        if found is not None:
            assert found["num_matched"] == wanted["num_matched"]
            assert found["matching_error"] == wanted["matching_error"]
    for key in ("train_seconds", "selection_seconds", "compile_seconds"):
        seconds = [row[key] for row in rows]
        assert seconds == sorted(seconds), "the clock goes on where the checkpoint left it"
    timed = {"train_seconds", "selection_seconds", "compile_seconds"}
    assert set(result) == set(alone_result)
    for key in set(result) - timed:
        assert result[key] == alone_result[key], key
    last = [dict(np.load(folder / run / "selection.npz")) for run in ("alone", "killed")]
    assert np.array_equal(last[0]["indices"], last[1]["indices"])
    assert np.array_equal(last[0]["weights"], last[1]["weights"])
