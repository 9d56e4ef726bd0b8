"""Streams in training: grain is asked for first, what reads ends with the epoch."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from devices import TESTS, environment, free_port
from gradmatch_jax.data import Split
from gradmatch_jax.errors import Stopped, UserError
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.left import Paused
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.passes import collect, run_epoch
from gradmatch_jax.training.reading import ReadSettings
from linear_problem import linear_data, linear_steps
from own_rows import N
from toys import Stream, as_streams, linear, needs_grain, reading_threads, toy_dataset, until


def run(out=None, *, dataset=None, **more):
    options = {name: more.pop(name) for name in ("stop",) if name in more}
    settings = {"strategy": "infobatch", "epochs": 3, "batch_size": 4, "lr": 0.05}
    config = TrainConfig(**settings, checkpoint_seconds=0, checkpoint_steps=2, **more)
    return train(
        config, out, dataset=dataset or as_streams(toy_dataset()), model=linear(), **options
    )


def test_without_grain_it_is_asked_for_before_anything_is_read(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "grain", None)
    asked = r"\Astreaming needs grain: pip install 'gradmatch-jax\[grain\]'\Z"
    with pytest.raises(UserError, match=asked):
        run(tmp_path / "run")
    with pytest.raises(UserError, match=asked):
        train(TrainConfig(dataset="imagenet", data_dir=tmp_path / "nowhere"))
    run(dataset=toy_dataset())


@pytest.mark.thorough
def test_grain_is_not_imported_before_there_is_a_stream():
    code = "import sys, gradmatch_jax.training.loop, gradmatch_jax.grain, gradmatch_jax.cli"
    code += "; assert 'grain' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(1))


@pytest.mark.parametrize("left", ["paused", "broken"])
def test_an_epoch_that_is_left_leaves_nothing_that_reads(left, monkeypatch):
    needs_grain()
    data = linear_data()
    steps, source = linear_steps(data), Stream(data.train.inputs)
    feed = Feed(Split(source, data.train.labels), reading=ReadSettings(read_threads=3))
    rows, options = np.arange(23), {"batch_size": 2, "lr": 0.1, "key": jax.random.key(1)}

    def broken(indices):
        raise UserError("no such picture")

    if left == "broken":
        monkeypatch.setattr(source, "take", broken)
    pause = {"pause": lambda step: step == 3}
    learner = steps.init(jax.random.key(0))
    with pytest.raises(UserError if left == "broken" else Paused) as error:
        run_epoch(steps, learner, feed, rows, np.ones(23), **options, **pause)
    # While the exception still holds the epoch's frames.
    assert until(lambda: not reading_threads())
    assert str(error.value) in ("no such picture", str(error.value) * (left == "paused"))
    if left == "paused":
        collect(steps, error.value.learner.variables, feed, batch_size=3)
        assert until(lambda: not reading_threads())


def numbers(result):
    state = result.state
    leaves = jax.tree.leaves((state.networks, state.selection, state.strategy))
    return [np.asarray(leaf) for leaf in leaves]


@pytest.mark.thorough
def test_how_it_is_read_is_no_part_of_a_run(tmp_path):
    """Left within an epoch, gone on with by other threads: the same bits, and the same run."""
    needs_grain()
    wanted, asked = run(tmp_path / "alone"), iter([False, False])
    with pytest.raises(Stopped, match=r"step \d+ of epoch 0"):
        run(tmp_path / "left", read_threads=1, stop=lambda: next(asked, True))
    found = run(tmp_path / "left", read_threads=3, read_ahead=7)
    for a, b in zip(numbers(found), numbers(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    config = json.loads((tmp_path / "left" / "config.json").read_text())
    assert "read_ahead" in config


@pytest.mark.thorough
def test_processes_read_what_threads_do(tmp_path):
    needs_grain()
    whole, asked = run(), iter([False])
    with pytest.raises(Stopped):
        run(tmp_path, read_workers=1, stop=lambda: next(asked, True))
    for a, b in zip(numbers(run(tmp_path)), numbers(whole), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough
def test_each_process_reads_its_own_rows():
    needs_grain()
    address = f"localhost:{free_port()}"
    children = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "own_rows.py"), address, "2", str(number)],
            env=environment(4), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        said = [child.communicate(timeout=600) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], said
    found = [json.loads(re.findall(r"^{.*}$", out, re.MULTILINE)[-1]) for out, _ in said]
    for batch_size in (16, 12, 7):
        order, own = np.random.default_rng(0).permutation(N), [set(), set()]
        for start in range(0, N, batch_size):
            rows = order[start : start + batch_size]
            for number in range(2):
                # Where all eight devices or four share a batch, half of it; else every process all.
                half = len(rows) % 2 == 0
                part = np.split(rows, 2)[number] if half else rows
                own[number] |= set(part.tolist())
        for number in range(2):
            taken = found[number][str(batch_size)]
            assert sorted(taken) == sorted(own[number]), "its own, each once"
