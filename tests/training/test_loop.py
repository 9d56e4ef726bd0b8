"""Short runs end to end: the log, the result, the folder, and how runs fail."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.models import build_model
from gradmatch_jax.training import epoch as driver
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.schedule import cosine
from toys import as_streams, linear, needs_grain, toy, toy_dataset

# Two full epochs and four on subsets, selected at the first of them and two later.
CONFIG = TrainConfig(
    strategy="gradmatch-warm",
    fraction=0.05,
    epochs=8,
    kappa=0.5,
    select_every=2,
    eval_every=2,
    lr=0.05,
    checkpoint_seconds=0,
)
SUMMARY = {
    "test_accuracy", "train_seconds", "selection_seconds", "compile_seconds", "epochs",
    "subset_size", "num_matched", "matching_error", "strategy", "fraction", "warm", "seed",
    "versions", "device",
}  # fmt: skip


class Spy:
    """`run_epoch`, and what it was given."""

    def __init__(self):
        self.calls, self.run_epoch = [], driver.run_epoch

    def __call__(self, steps, learner, feed, indices, weights, **options):
        self.calls.append((np.array(indices), np.array(weights), options["lr"]))
        return self.run_epoch(steps, learner, feed, indices, weights, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on digits, its folder, and the examples of each epoch."""
    out, spy = tmp_path_factory.mktemp("runs") / "run", Spy()
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "run_epoch", spy)
        result = train(CONFIG, out, on_epoch=lambda row, total: seen.append((row, total)))
    return result, out, spy.calls, seen


@pytest.mark.thorough
def test_log(finished):
    result, _, _, seen = finished
    log = result.log
    assert [row["epoch"] for row in log] == list(range(5))
    assert [row["full"] for row in log] == [True, False, False, False, False]
    assert [i for i, row in enumerate(log) if "selection" in row] == [1, 3]
    assert [i for i, row in enumerate(log) if "test_accuracy" in row] == [1, 3, 4]
    assert [row["lr"] for row in log] == [cosine(0.05, i / 5) for i in range(5)]
    n = result.summary["train_size"]
    assert [row["examples"] for row in log] == [n] + 4 * [round(0.05 * n)]
    assert 0 < log[0]["train_loss"] < np.log(10), "the full epoch beats a guess"
    assert all(0 < row["train_loss"] < 10 for row in log)
    for name in ("train_seconds", "selection_seconds", "compile_seconds"):
        times = [row[name] for row in log]
        assert times == sorted(times), "seconds so far"
    assert log[0]["selection_seconds"] == 0 < log[1]["selection_seconds"]
    assert log[1]["selection_seconds"] == log[2]["selection_seconds"]
    assert [total for _, total in seen] == [5] * 5
    assert [row["epoch"] for row, _ in seen] == list(range(5))


@pytest.mark.thorough
def test_epochs_train_on_what_was_selected(finished):
    result, _, calls, _ = finished
    n, k = result.summary["train_size"], result.summary["subset_size"]
    assert sorted(calls[0][0].tolist()) == list(range(n))
    assert set(calls[0][1].tolist()) == {1.0}
    for indices, weights, _ in calls[1:]:
        assert len(set(indices.tolist())) == len(indices) == k
        assert weights.mean() == pytest.approx(1.0, rel=1e-5)
        assert weights.min() >= 0
        assert weights.std() > 0.01
    assert np.array_equal(calls[1][0], calls[2][0])
    assert np.array_equal(calls[1][1], calls[2][1])
    assert not np.array_equal(calls[2][0], calls[3][0]), "selected again after R epochs"
    assert [lr for *_, lr in calls] == [row["lr"] for row in result.log]


def test_summary(finished):
    result, _, calls, _ = finished
    summary = result.summary
    assert set(summary) >= SUMMARY
    assert (summary["strategy"], summary["warm"]) == ("gradmatch", True)
    assert (summary["fraction"], summary["seed"]) == (0.05, 0)
    assert (summary["epochs"], summary["full_epochs"]) == (5, 1)
    assert summary["subset_size"] == round(0.05 * summary["train_size"]) == len(calls[-1][0])
    assert len(summary["num_matched"]) == len(summary["matching_error"]) == 2
    assert all(0 < m <= summary["subset_size"] for m in summary["num_matched"])
    assert all(0 < e < 1 for e in summary["matching_error"])
    assert summary["test_accuracy"] == result.log[-1]["test_accuracy"] > 60
    assert summary["train_seconds"] == result.log[-1]["train_seconds"] > 0
    assert {"python", "jax", "flax", "optax", "numpy"} <= set(summary["versions"])
    assert summary["device"]


def test_accuracies_are_those_of_the_final_network(finished):
    """Of the test and of the validation split, by hand from the pixels and the parameters."""
    result = finished[0]
    dataset = load_dataset("digits", seed=0)
    model = build_model("mlp", dataset.train.shape, dataset.num_classes)
    variables = result.state.learner.variables
    for name, split in (("test", dataset.test), ("validation", dataset.validation)):
        (mean,), (std,) = dataset.prepare.mean, dataset.prepare.std
        pixels = (split.inputs.astype(np.float32) / 255 - mean) / std
        logits = model.apply(variables, jnp.asarray(pixels), False)[0]
        share = 100 * np.mean(np.argmax(np.asarray(logits), axis=1) == split.labels)
        assert result.summary[f"{name}_accuracy"] == pytest.approx(share, abs=1e-4)
        assert result.log[1][f"{name}_accuracy"] <= 100
    assert result.summary["test_accuracy"] != result.summary["validation_accuracy"]


def test_files(finished):
    result, out, calls, _ = finished
    assert json.loads((out / "result.json").read_text()) == result.summary
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.log
    config = json.loads((out / "config.json").read_text())
    assert config["strategy"] == "gradmatch"
    assert config["model"] == "mlp"
    with np.load(out / "selection.npz") as selection:
        train_split = load_dataset("digits", seed=0).train
        assert np.array_equal(train_split.positions(selection["indices"]), calls[-1][0])
        rescaled = selection["weights"] / selection["weights"].mean()
        np.testing.assert_allclose(rescaled, calls[-1][1], rtol=1e-5)
    assert not list(out.glob("*.tmp"))


def test_a_finished_folder_returns_at_once(finished, monkeypatch):
    result, out, _, _ = finished

    def never(*args, **options):
        raise AssertionError("a finished run must not train")

    monkeypatch.setattr(driver, "run_epoch", never)
    before = (out / "result.json").read_bytes(), (out / "metrics.jsonl").read_bytes()
    again = train(CONFIG, out)
    assert again.summary == result.summary
    assert again.log == result.log
    assert ((out / "result.json").read_bytes(), (out / "metrics.jsonl").read_bytes()) == before


def test_another_configuration_is_refused(finished):
    _, out, _, _ = finished
    before = (out / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"another configuration \(seed 0 there, 3 here\)") as error:
        train(CONFIG.__class__(**{**vars(CONFIG), "seed": 3}), out)
    assert "\n" not in str(error.value)
    assert (out / "config.json").read_bytes() == before


def test_how_often_to_save_is_no_other_configuration(finished):
    result, out, _, _ = finished
    config = CONFIG.__class__(**{**vars(CONFIG), "checkpoint_seconds": 999.0})
    assert train(config, out).summary == result.summary


def test_own_data_and_model():
    result = toy(epochs=12)
    assert result.summary["test_accuracy"] > 90
    assert result.summary["num_matched"] == [12] * 12, "a new subset every epoch"


def test_the_strategys_state_is_carried_on(monkeypatch):
    """Five draws of a fifth, without replacement: every example once."""
    spy = Spy()
    monkeypatch.setattr(driver, "run_epoch", spy)
    toy(epochs=5)
    assert sorted(np.concatenate([indices for indices, *_ in spy.calls])) == list(range(60))


@pytest.mark.thorough
def test_seed_decides_everything():
    def weights(**settings):
        return np.asarray(toy(**settings).state.learner.variables.params["W"])

    first = weights(seed=1)
    assert np.array_equal(first, weights(seed=1))
    assert not np.array_equal(first, weights(seed=2))
    assert np.all(np.isfinite(weights(seed=2**32 - 1)))


def test_a_streamed_set_trains_as_one_in_memory():
    needs_grain()
    data, streamed = toy_dataset(), as_streams(toy_dataset())
    config = TrainConfig(strategy="random", fraction=0.2, epochs=3, batch_size=5, lr=0.05)
    found = [
        train(config, dataset=d, model=linear()).state.learner.variables.params["W"]
        for d in (data, streamed)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-7)


def test_full_training():
    result = toy(strategy="full", fraction=None, epochs=2)
    assert [row["examples"] for row in result.log] == [60, 60]
    assert (result.summary["subset_size"], result.summary["fraction"]) == (60, 1.0)


def test_divergence_is_told():
    with pytest.raises(UserError, match="diverged; lower --lr") as error:
        toy(lr=1e30)
    assert "\n" not in str(error.value)


@pytest.mark.thorough
def test_an_empty_selection_is_told():
    """eps above the objective of choosing nothing, and nothing may be filled in."""
    with pytest.raises(UserError, match="the selection is empty"):
        toy(strategy="gradmatch-pb", eps=1e9, fill="none", nonnegative=False)
