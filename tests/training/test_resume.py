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
from toys import LONG, WHOLE, needs_grain

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import json, sys
from pathlib import Path
import jax, numpy as np
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
raw = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
for settings, out in json.loads(sys.argv[1]):
    state = train(TrainConfig(**settings), Path(out)).state
    leaves = jax.tree.leaves((state.learner, state.selection, state.strategy, int(state.epoch)))
    arrays = [np.asarray(raw(jax.numpy.asarray(leaf))) for leaf in leaves]
    np.savez(out + ".npz", *arrays)
"""
RUNS: dict[str, dict[str, object]] = {  # 10 epochs each
    "gradmatch-warm": {
        "strategy": "gradmatch-warm", "epochs": 18, "fraction": 0.1, "select_every": 3,
    },
    # The other network has dropout: its keys are part of what is restored.
    "adaptive-random": {
        "strategy": "adaptive-random", "epochs": 10, "fraction": 0.1, "model": "mnistnet",
    },
    # What training saw of each example is part of what is restored.
    **{
        name: {"strategy": name, "epochs": 10, "fraction": 0.1}
        for name in ("tempered", "order-dp", "balanced")
    },
    # Saved within their epochs, and killed there.
    "gradmatch-pb-warm, within": {
        "strategy": "gradmatch-pb-warm", "epochs": 18, "fraction": 0.1, "select_every": 3,
        "checkpoint_steps": 1,
    },
    "infobatch, within": {"strategy": "infobatch", "epochs": 10, "checkpoint_steps": 10},
    "adaptive-random, within": {
        "strategy": "adaptive-random", "epochs": 10, "fraction": 0.1, "model": "mnistnet",
        "checkpoint_steps": 2,
    },
    # Pictures from disk, by grain.
    "streamed, within": {
        "dataset": "imagenet", "image_size": 16, "model": "logistic", "strategy": "adaptive-random",
        "epochs": 10, "fraction": 0.5, "batch_size": 4, "checkpoint_steps": 2,
    },
}  # fmt: skip
EPOCHS = 10
# A run left alone, and the last that takes one up, save nothing on the way: it takes longer than
# their training, and they end the same.
UNSAVED = {"checkpoint_seconds": 9999, "checkpoint_steps": 0}
RARE = (
    "gradmatch-warm",
    "adaptive-random",
    "tempered",
    "order-dp",
    "balanced",
    "infobatch, within",
    "adaptive-random, within",
)  # `.ci/more` has these too
STREAMED = [name for name in RUNS if "dataset" in RUNS[name]]


def start(runs, log):
    """A process of these (settings, folder), one after the other."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    }
    given = json.dumps([(settings, str(out)) for settings, out in runs])
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, given], env=environment, stdout=file, stderr=file
        )


def finish(settings, folders, name):
    """Run each kind to its end in its folder's `name`; the arrays of the final states."""
    log = folders[next(iter(folders))] / f"{name}.log"
    process = start([(settings[kind] | UNSAVED, folders[kind] / name) for kind in settings], log)
    try:
        code = process.wait(timeout=300)
    finally:
        process.kill()
    assert code == 0, log.read_text()[-3000:]
    found = {}
    for kind, folder in folders.items():
        with np.load(folder / f"{name}.npz") as file:
            found[kind] = [file[field] for field in file.files]
    return found


def kill_after(settings, out, rows, delay):
    """Kill a run `delay` seconds after its log has reached `rows` rows; the rows it left.

    One that saves within its epochs: and its last checkpoint is within an epoch.
    """
    log, within = out.parent / f"{out.name}.log", "checkpoint_steps" in settings
    process, deadline = start([(settings, out)], log), time.monotonic() + 300
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if rows_in(out) >= rows and (not within or last_place(out).step):
                break
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        code = process.wait()
    said = log.read_text()[-3000:]
    assert code == -signal.SIGKILL, f"ended before it could be killed ({code}):\n{said}"
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


def interrupt(settings, out):
    """Where a run was killed, and in `.ci/more` where once more, having been taken up."""
    kills, left, within = [], 0, "checkpoint_steps" in settings
    for _ in range(2 if WHOLE else 1):
        rows, delay = left + random.randint(1, 2), random.uniform(0, 0.02 if within else 0.1)
        left = kill_after(settings, out, rows, delay)
        kills.append((rows, delay, left, last_place(out).name))
    assert not within or any("-" in place for *_, place in kills), kills
    return kills


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
def runs(request, tmp_path_factory):
    """Of each kind asked for: a run left alone, one killed (arrays), where it was, the folder."""
    readable = all(map(importlib.util.find_spec, ("grain", "PIL")))
    asking = [item for item in request.session.items if "runs" in item.fixturenames]
    asked = {x.callspec.params.get("name") for x in asking if not x.get_closest_marker("skip")}
    names = [name for name in RUNS if name in asked and (readable or name not in STREAMED)]
    folders = {name: tmp_path_factory.mktemp(name) for name in names}
    settings = {name: RUNS[name] | {"checkpoint_seconds": 0, "eval_every": 4} for name in names}
    for name in set(names) & set(STREAMED):
        settings[name]["data_dir"] = str(pictures(folders[name] / "pictures"))
    alone = finish(settings, folders, "alone")  # which fills the compilation cache
    with ThreadPoolExecutor(2) as pool:  # one on each of two cores
        pending = {
            name: pool.submit(interrupt, settings[name], folders[name] / "killed") for name in names
        }
        kills = {name: future.result() for name, future in pending.items()}
    killed = finish(settings, folders, "killed")
    return {name: (alone[name], killed[name], kills[name], folders[name]) for name in names}


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
