"""Epochs left in their middle and gone on with, from a checkpoint too, end to the same bit."""

import json
import shutil

import jax
import numpy as np
import pytest

from gradmatch_jax.data import Split
from gradmatch_jax.errors import Diverged, Stopped
from gradmatch_jax.training import checkpoints
from gradmatch_jax.training.checkpoints import Place
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.left import Begun, Left, Paused, packed, unpacked
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.passes import run_epoch
from gradmatch_jax.training.plain import on_host
from gradmatch_jax.training.schedule import Batching
from linear_problem import linear_data, linear_steps
from toys import LONG, Stream, linear, needs_grain, toy_dataset

TIMES = ("train_seconds", "selection_seconds", "compile_seconds", "joules", "seconds")
KINDS = {
    "gradmatch-pb-warm": {"epochs": 8, "select_every": 2, "fraction": 0.4},
    "infobatch": {"epochs": 4},
    "adaptive-random": {"epochs": 2, "fraction": 0.5},
    "balanced": {"epochs": 3, "fraction": 0.5},
    # Two proxies, each from a fresh start.
    "el2n": {"epochs": 2, "proxy_epochs": 1, "proxy_runs": 2, "fraction": 0.4},
}
# All are thorough; this one is much like another.
WHEN = {"el2n": (pytest.mark.thorough, LONG)}


def config(kind, **more):
    settings = {"strategy": kind, "batch_size": 5, "lr": 0.05, "checkpoint_seconds": 0}
    if kind == "el2n":
        settings["proxy"] = "mlp"
    return TrainConfig(**(settings | KINDS[kind] | more))


def run(kind, out, **more):
    options = {name: more.pop(name) for name in ("stop", "on_note") if name in more}
    return train(config(kind, **more), out, dataset=toy_dataset(), model=linear(), **options)


def numbers(state):
    kept = (state.networks, state.selection, state.strategy, int(state.epoch))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(on_host(kept))]


def untimed(row):
    return {
        name: untimed(value) if isinstance(value, dict) else value
        for name, value in row.items()
        if name not in TIMES
    }


def same(found, wanted):
    for a, b in zip(numbers(found.state), numbers(wanted.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [untimed(row) for row in found.log] == [untimed(row) for row in wanted.log]
    assert untimed(found.summary) == untimed(wanted.summary)


@pytest.mark.parametrize(
    ("streamed", "scan"),
    [(False, False)]
    + [pytest.param(*case, marks=pytest.mark.thorough) for case in ((True, False), (False, True))],
)
@pytest.mark.parametrize("every", [1, 3])
def test_an_epoch_in_pieces_is_the_whole_one(every, streamed, scan, monkeypatch):
    monkeypatch.setattr("gradmatch_jax.training.passes.SCAN", 2)
    data, rng = linear_data(), np.random.default_rng(0)
    steps = linear_steps(data, augmented=True)
    if streamed:
        needs_grain()
    inputs = Stream(data.train.inputs) if streamed else data.train.inputs
    feed = Feed(Split(inputs, data.train.labels))
    indices, weights = rng.permutation(len(feed))[:22], rng.random(22)
    options = {
        "batch_size": 3, "lr": 0.1, "key": jax.random.key(2), "scan": scan,
        "batching": Batching("batch"),
    }  # fmt: skip
    whole = run_epoch(steps, steps.init(jax.random.key(0)), feed, indices, weights, **options)
    learner, begun, pieces = steps.init(jax.random.key(0)), None, 0
    while True:
        last = 0 if begun is None else begun.steps
        try:
            made = run_epoch(
                steps, learner, feed, indices, weights, **options, begun=begun,
                pause=lambda step, last=last: step >= last + every,
            )  # fmt: skip
            break
        except Paused as paused:
            left = unpacked(packed(Left(paused.begun, {})))
            learner, begun, pieces = paused.learner, left.begun, pieces + 1
            assert begun.steps < 8, "the end of an epoch is no pause"
    assert pieces == {(1, False): 7, (3, False): 2, (1, True): 4, (3, True): 2}[every, scan]
    for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_packed_comes_back_with_its_types():
    recorded = {
        "a": np.asarray(jax.numpy.ones((3, 2), "bfloat16")),
        "b": np.zeros(3, bool),
    }
    row = {"lr": 0.1, "selection": {"matching_error": float("nan"), "stopped": None}}
    found = unpacked(packed(Left(Begun(2, np.arange(2, dtype=np.float32), recorded), row)))
    for name, array in recorded.items():
        assert found.begun.recorded[name].dtype == array.dtype
        np.testing.assert_array_equal(found.begun.recorded[name], array)
    assert found.row["lr"] == 0.1
    assert np.isnan(found.row["selection"]["matching_error"])


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=WHEN.get(kind, pytest.mark.thorough)) for kind in KINDS]
)
def test_a_run_left_in_its_epochs_ends_as_one_left_alone(kind, tmp_path):
    """Asked to stop every few steps, again and again; where that is within an epoch, it counts."""
    wanted, within, out = run(kind, tmp_path / "alone"), [], tmp_path / "left"
    for _ in range(20):
        asked = iter([False, True])
        notes = []
        try:
            found = run(
                kind, out, checkpoint_steps=2, stop=lambda asked=asked: next(asked, True),
                on_note=notes.append,
            )  # fmt: skip
            break
        except Stopped as stopped:
            last = checkpoints.places(out / "checkpoints")[0]
            if last.step:
                within.append(f"step {last.step} of epoch {last.epoch}" in str(stopped))
    else:
        pytest.fail("it never comes to its end")
    assert within.count(True) == len(within) >= 2
    same(found, wanted)
    with np.load(out / "selection.npz") as a, np.load(tmp_path / "alone" / "selection.npz") as b:
        for name in b.files:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.thorough
def test_saving_within_epochs_changes_nothing(tmp_path):
    """And the default saves after epochs alone."""
    wanted = run("infobatch", tmp_path / "alone")
    places = []

    def note():
        places.extend(checkpoints.places(tmp_path / "often" / "checkpoints"))
        return False

    same(run("infobatch", tmp_path / "often", checkpoint_steps=4, stop=note), wanted)
    assert {place.step for place in places} >= {0, 4, 8}
    assert not {place.step for place in places} - {0, 4, 8}
    places.clear()
    run("infobatch", tmp_path / "seldom", checkpoint_steps=4, checkpoint_seconds=1e6, stop=note)
    assert not any(checkpoints.places(tmp_path / "seldom" / "checkpoints")[1:])


def stopped_within(out):
    asked = iter([False] * 3)
    with pytest.raises(Stopped):
        run("adaptive-random", out, checkpoint_steps=2, stop=lambda: next(asked, True))
    places = checkpoints.places(out / "checkpoints")
    assert places[0].step
    return places


@pytest.mark.thorough
def test_the_log_says_where_it_goes_on_and_a_damaged_middle_falls_back(tmp_path):
    wanted, out, notes = run("adaptive-random", tmp_path / "alone"), tmp_path / "left", []
    last, before = stopped_within(out)
    shutil.copytree(out, tmp_path / "copy")
    same(run("adaptive-random", out, on_note=notes.append), wanted)
    assert f"resuming at {last.in_words()} of 2" in notes
    for damage in (lambda file: file.unlink(), lambda file: file.write_bytes(b"")):
        copy = tmp_path / damage.__code__.co_names[0]
        shutil.copytree(tmp_path / "copy", copy)
        damage(copy / "checkpoints" / last.name / "left.bin")
        notes.clear()
        same(run("adaptive-random", copy, on_note=notes.append), wanted)
        assert any(f"going on from {before.in_words()}" in note for note in notes)


def test_places_are_in_order_and_named():
    places = [Place(2), Place(2, 30), Place(2, 200), Place(3)]
    assert sorted(places[i] for i in (2, 0, 3, 1)) == places
    assert [Place.named(place.name) for place in places] == places
    assert Place.named("state") is Place.named("1-") is Place.named("1-2-3") is None


def test_a_bad_state_is_told_before_it_is_saved_within_an_epoch(tmp_path):
    with pytest.raises(Diverged, match="in epoch 0"):
        run("infobatch", tmp_path / "run", checkpoint_steps=2, lr=1e30)
    assert not checkpoints.places(tmp_path / "run" / "checkpoints")


def test_the_folder_of_a_run_in_its_middle_can_be_opened(tmp_path):
    from gradmatch_jax.training.saved import load_run

    stopped_within(tmp_path / "run")
    assert len(load_run(tmp_path / "run", dataset=toy_dataset(), model=linear()).history) >= 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["checkpoint_steps"] == 2
