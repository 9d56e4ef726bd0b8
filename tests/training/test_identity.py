"""The same data: a run is taken up only with what it was started with; rows keep their names."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from gradmatch_jax.data import Dataset, Split, load_dataset
from gradmatch_jax.data.imbalance import imbalanced
from gradmatch_jax.errors import UserError
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.strategies.strategy import Strategy, stateless
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.summary import warning
from toys import as_streams, linear, needs_grain, toy, toy_dataset


def other(part="train", **changes):
    data = toy_dataset()
    split = getattr(data, part)
    return dataclasses.replace(data, **{part: dataclasses.replace(split, **changes)})


def inverted():
    return other(inputs=255 - toy_dataset().train.inputs)


def one_label():
    labels = toy_dataset().train.labels.copy()
    labels[3] = (labels[3] + 1) % 3
    return other(labels=labels)


def fewer():
    return dataclasses.replace(toy_dataset(), train=toy_dataset().train.subset(np.arange(55)))


def other_test():
    return other("test", inputs=toy_dataset().test.inputs[::-1].copy())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (inverted, "train inputs"),
        (one_label, "train labels"),
        (fewer, "train set '60 of uint8 (4, 4, 1)' there, '55 of uint8"),
        (other_test, "test inputs"),
    ],
)
def test_other_data_are_refused(tmp_path, dataset, said):
    toy(tmp_path, epochs=1)
    with pytest.raises(UserError) as error:
        toy(tmp_path, epochs=1, dataset=dataset())
    assert said in str(error.value)
    assert "other data" in str(error.value)
    assert "\n" not in str(error.value)
    assert toy(tmp_path, epochs=1).summary["epochs"] == 1


def test_a_stream_is_told_by_its_labels_and_shape(tmp_path):
    needs_grain()
    streamed = as_streams(toy_dataset())
    toy(tmp_path, epochs=1, dataset=streamed)
    facts = json.loads((tmp_path / "config.json").read_text())["data"]
    assert "train labels" in facts
    assert "train inputs" not in facts
    relabelled = dataclasses.replace(
        streamed, train=Split(streamed.train.inputs, one_label().train.labels)
    )
    with pytest.raises(UserError, match="train labels"):
        toy(tmp_path, epochs=1, dataset=relabelled)


CONFIG = TrainConfig(fraction=0.2, epochs=1, batch_size=5)


def wider():
    def init(key):
        return Variables(linear().init(key).params | {"b": np.zeros(3, np.float32)}, {})

    return Model("linear", init, linear().apply)


def first(task):
    def select(state, snapshot, key):
        return unweighted(np.arange(task.budget)), state

    return Strategy(stateless, select)


def last(task):
    def choose(state, snapshot, key):
        return unweighted(np.arange(task.budget) + 5), state

    return Strategy(stateless, choose)


def test_a_model_and_a_strategy_of_ones_own_are_part_of_it(tmp_path):
    given = {"dataset": toy_dataset(), "model": linear(), "strategy": first}
    train(CONFIG, tmp_path, **given)
    with pytest.raises(UserError, match=r"network 'linear: 48 numbers in .* here"):
        train(CONFIG, tmp_path, **(given | {"model": wider()}))
    with pytest.raises(UserError, match="strategy's function 'first' there, 'last' here"):
        train(CONFIG, tmp_path, **(given | {"strategy": last}))


@pytest.mark.thorough
def test_selections_name_the_users_rows(tmp_path):
    """After a test and a validation split and an imbalance, against the arrays themselves."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    y = np.arange(300) % 3
    made = Dataset.from_arrays("mine", x, y, x[:30], y[:30], seed=3)
    data = imbalanced(made, 0.2, 0.4, seed=1)
    assert len(data.train) < len(made.train) < 300
    config = TrainConfig(strategy="gradmatch", fraction=0.2, epochs=4, select_every=2)
    result = train(config, tmp_path, dataset=data)
    with np.load(tmp_path / "selection.npz") as file:
        stored = dict(file)
    for part, split in (("train", data.train), ("validation", data.validation)):
        rows = stored[f"{part}_rows"]
        np.testing.assert_array_equal(x[rows], split.inputs)
        np.testing.assert_array_equal(y[rows], split.labels)
    size = int(result.state.selection.size)
    chosen = np.asarray(result.state.selection.indices)[:size]
    np.testing.assert_array_equal(x[stored["indices"]], np.asarray(data.train.inputs)[chosen])
    np.testing.assert_array_equal(data.train.positions(stored["indices"]), chosen)
    assert sorted(set(stored["history_epochs"].tolist())) == [0, 2]
    again = stored["history_epochs"] == 2
    np.testing.assert_array_equal(stored["history_indices"][again], stored["indices"])
    np.testing.assert_array_equal(stored["history_weights"][again], stored["weights"])
    assert set(stored["history_indices"].tolist()) <= set(stored["train_rows"].tolist())


def test_rows_are_their_own_where_nothing_was_cut():
    split = Split(np.zeros((4, 2), np.float32), np.zeros(4, np.int32))
    assert split.rows.tolist() == [0, 1, 2, 3]
    part = split.subset(np.array([3, 1, 2])).subset(np.array([2, 0]))
    assert part.rows.tolist() == [2, 3]
    assert part.positions(np.array([3, 2])).tolist() == [1, 0]
    digits = load_dataset("digits", seed=0)
    both = np.concatenate([digits.train.rows, digits.validation.rows, digits.test.rows])
    assert sorted(both.tolist()) == list(range(1797))


def test_an_exploded_loss_that_stays_is_warned_of(tmp_path):
    config = TrainConfig(strategy="random", epochs=3, lr=50.0, model="logistic")
    summary = train(config, tmp_path).summary
    assert "above the 2.3 of guessing: lower --lr" in summary["warning"]
    assert toy(epochs=3).summary["warning"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "gradmatch", "fraction": 0.1}, r"guessing: --weighting batch \(a selection"),
        ({"strategy": "gradmatch", "fraction": 0.1, "weighting": "batch"}, "guessing: lower --lr"),
        ({"strategy": "craig", "fraction": 0.1}, "guessing: lower --lr"),  # its own are by batch
    ],
)
def test_uneven_weights_are_named_where_they_scale_the_steps(settings, said, tmp_path):
    run = train(TrainConfig(epochs=2, lr=100.0, model="logistic", **settings), tmp_path)
    assert re.search(said, run.summary["warning"])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row.get("selection")]
    with np.load(tmp_path / "selection.npz", allow_pickle=False) as file:
        weights = file["weights"].astype(float)
    assert rows[-1]["selection"]["effective_size"] == pytest.approx(
        weights.sum() ** 2 / (weights**2).sum()
    )
    assert rows[-1]["selection"]["effective_size"] < 0.9 * rows[-1]["selection"]["size"]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([], None),
        ([2.5, 2.4, 2.31], None),  # has not learnt yet
        ([1.1, 0.02, 0.4, 2.1], None),  # hard examples, and better than guessing
        ([1.1, 0.02, 4.0, 2.31], "from 0.02 to 4 in epoch 2 and ended at guessing, 2.3"),
        ([0.02, math.nan, 2.31], "from 0.02 to nan in epoch 1 and ended at guessing, 2.3"),
        ([0.02, 187.0], "ended at 187, above the 2.3 of guessing"),
        ([0.02, math.nan], None),  # another end of a run, told elsewhere
    ],
)
def test_a_network_that_had_learnt_and_collapsed_is_warned_of(losses, said):
    found = warning(losses, 10)
    assert found is None if said is None else said in found
