"""Runs of every kind through the driver on digits: proxies, early stops, pruning, the hooks."""

import json

import jax
import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies import STRATEGIES, Entry, register
from gradmatch_jax.strategies.baselines import random
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.schedule import cosine
from toys import LONG

SHORT = {"model": "logistic", "fraction": 0.1, "epochs": 4, "eval_every": 1, "batch_size": 50}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def run(digits, name, out=None, **settings):
    settings = SHORT | settings
    if not STRATEGIES[name.removesuffix("-warm")].regime.budgeted:
        del settings["fraction"]
    return train(TrainConfig(strategy=name, **settings), out, dataset=digits)


@pytest.mark.thorough
def test_a_proxy_scores_and_its_time_is_selection_time(digits, tmp_path):
    result = run(digits, "el2n", tmp_path / "run", proxy="mlp", proxy_epochs=2, proxy_runs=2)
    rows, summary = result.log, result.summary
    assert [row["proxy"] for row in rows] == [True] * 4 + [False] * 4
    assert [i for i, row in enumerate(rows) if "selection" in row] == [2, 4]
    assert "test_accuracy" not in rows[3]
    n = summary["train_size"]
    assert [row["examples"] for row in rows] == [n] * 4 + [round(0.1 * n)] * 4
    assert all(row["train_seconds"] == 0 for row in rows[:4])
    assert rows[3]["selection_seconds"] > rows[0]["selection_seconds"] > 0
    assert rows[2]["train_loss"] > rows[1]["train_loss"], "a second proxy starts afresh"
    assert (summary["epochs"], summary["proxy_epochs"], summary["full_epochs"]) == (4, 4, 0)
    assert summary["examples"] == sum(row["examples"] for row in rows)


@pytest.mark.thorough
def test_el2n_ranks_by_the_proxys_errors(digits):
    """The subset is the k examples of largest error of the network after its epochs."""
    result = run(digits, "el2n", proxy_epochs=2, proxy_runs=1)
    from gradmatch_jax.training.build import prepare
    from gradmatch_jax.training.config import resolve
    from gradmatch_jax.training.snapshot import take_snapshot

    config = resolve(TrainConfig(strategy="el2n", proxy_epochs=2, **SHORT))
    setup, _ = prepare(config, digits)
    seen = take_snapshot(setup, result.state, setup.key).train
    errors = np.linalg.norm(np.asarray(seen.gradients.residuals), axis=1)
    chosen = np.asarray(result.state.selection.indices)
    assert errors[chosen].min() >= np.delete(errors, chosen).max() - 1e-6


@pytest.mark.thorough
def test_a_warm_run_scores_with_itself(digits):
    result = run(digits, "forgetting-warm", fraction=0.5, epochs=8)
    assert [row["full"] for row in result.log] == [True] * 2 + [False] * 4
    assert result.summary["proxy_epochs"] == 0


@pytest.mark.thorough
def test_with_a_proxy_only_the_proxy_is_observed(digits):
    """Forgetting is of one network's training: the warm start's own epochs are not counted."""
    proxies = {"proxy": "logistic", "proxy_epochs": 3}
    warm = run(digits, "forgetting-warm", fraction=0.5, epochs=8, **proxies)
    cold = run(digits, "forgetting", fraction=0.5, epochs=8, **proxies)
    assert [row["full"] for row in warm.log] == [True] * 3 + [True] * 2 + [False] * 4
    for a, b in zip(*(r.state.strategy.values() for r in (warm, cold)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["full-earlystop", "full-earlystop-fitted"])
def test_early_stop_by_examples(digits, name):
    result = run(digits, name, fraction=0.5)
    expected = 4 if name == "full-earlystop" else 2
    assert [row["lr"] for row in result.log] == [cosine(0.01, i / expected) for i in range(2)]
    assert [row["examples"] for row in result.log] == [len(digits.train)] * 2


@pytest.mark.thorough
def test_early_stop_like_another_run(digits, tmp_path):
    warm = run(digits, "random-warm", tmp_path / "warm", fraction=0.5, epochs=8)
    like = {"like": tmp_path / "warm", "epochs": 8}
    by_examples = run(digits, "full-earlystop", like_by="examples", **like)
    ratio = by_examples.summary["examples"] / warm.summary["examples"]
    assert abs(ratio - 1) < 0.5 / by_examples.summary["epochs"] + 0.01

    spent = json.loads((tmp_path / "warm" / "result.json").read_text())
    for name in ("full-earlystop", "full-earlystop-fitted"):
        stopped = run(digits, name, tmp_path / name, like_by="seconds", **like)
        seconds = [r["train_seconds"] + r["selection_seconds"] for r in stopped.log]
        limit = spent["train_seconds"] + spent["selection_seconds"]
        assert all(second < limit for second in seconds[:-1])
        assert seconds[-1] >= limit or len(seconds) == 8
        done = [0.0, *seconds[:-1]]
        places = [i / 8 for i in range(8)] if name == "full-earlystop" else np.array(done) / limit
        lrs = [cosine(0.01, place) for place, _ in zip(places, seconds, strict=False)]
        assert [row["lr"] for row in stopped.log] == pytest.approx(lrs)
        again = run(digits, name, tmp_path / name, like_by="seconds", **like)
        assert again.summary == json.loads((tmp_path / name / "result.json").read_text())
    with pytest.raises(UserError, match="no finished run"):
        run(digits, "full-earlystop", like=tmp_path / "nothing")


@pytest.mark.thorough
def test_infobatch_prunes_and_ends_on_all_the_data(digits):
    result = run(digits, "infobatch", epochs=8, lr=0.05)
    n, sizes = len(digits.train), [row["examples"] for row in result.log]
    assert sizes[0] in (n, n // 50 * 50), "nothing is known yet, nothing is pruned"
    assert all(size % 50 == 0 and 0.4 * n < size < n for size in sizes[1:7])
    assert sizes[7] == n
    assert result.log[7]["full"]
    assert result.summary["fraction"] == 1.0
    weights = np.asarray(result.state.selection.weights)
    assert set(np.unique(weights)) <= {0.0, 1.0, 2.0}


@pytest.mark.thorough
@pytest.mark.parametrize("warm", [False, pytest.param(True, marks=LONG)], ids=["cold", "warm"])
def test_every_strategy_trains(digits, warm):
    """One epoch of each would do; two show that the state and the hooks fit together."""
    for name, entry in STRATEGIES.items():
        if warm and not entry.regime.warms:
            continue
        settings = {"proxy_epochs": 1} if entry.regime.scored and not warm else {}
        form = f"{name}-warm" if warm else name
        result = run(digits, form, epochs=2, **settings)
        assert np.isfinite(result.summary["test_accuracy"]), form
        assert np.isfinite(result.log[-1]["train_loss"]), form


def test_a_strategy_of_the_users_own(digits, monkeypatch):
    monkeypatch.setitem(STRATEGIES, "mine", STRATEGIES["random"])  # and is gone afterwards
    del STRATEGIES["mine"]
    register("mine", Entry(random, "epoch", "a fresh draw each epoch", "me"))
    result = run(digits, "mine-warm", epochs=2)
    assert (result.summary["strategy"], result.summary["warm"]) == ("mine", True)
    assert [("selection" in row) for row in result.log] == [False, True]
    for name, message in (("mine", "already"), ("other-warm", "without it")):
        with pytest.raises(UserError, match=message):
            register(name, Entry(random, "epoch", "", ""))


class Killed(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "settings", "after"),
    [("forgetting", {"proxy_epochs": 3, "proxy_runs": 2}, 4), ("infobatch", {"epochs": 8}, 3)],
)
def test_a_run_killed_on_the_way_ends_as_one_left_alone(digits, tmp_path, name, settings, after):
    """The proxy, the counts and the observed losses are in the checkpoint."""

    def kill(row, total):
        if row["epoch"] == after:
            raise Killed

    settings = SHORT | settings
    if name == "infobatch":
        del settings["fraction"]
    config = TrainConfig(strategy=name, checkpoint_seconds=0, **settings)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", dataset=digits, on_epoch=kill)
    resumed = train(config, tmp_path / "run", dataset=digits)
    alone = train(config, dataset=digits)
    assert len(resumed.log) == len(alone.log)
    for field in ("networks", "selection", "strategy"):
        pair = (getattr(result.state, field) for result in (resumed, alone))
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
            np.testing.assert_array_equal(a, b)
