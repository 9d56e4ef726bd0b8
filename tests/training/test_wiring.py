"""What a configuration and a strategy say reaches the epochs: `tests/mutants.py` cuts each wire."""

import numpy as np
import pytest

import linear_problem
from gradmatch_jax.models.model import Model
from gradmatch_jax.training import epoch as driver
from gradmatch_jax.training.build import prepare
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.steps import make_steps
from toys import linear, toy, toy_dataset


@pytest.fixture
def epochs(monkeypatch):
    """The (indices, weights, batching) of each epoch of SGD that is run from here on."""
    calls, run_epoch = [], driver.run_epoch

    def spy(steps, learner, feed, indices, weights, **options):
        calls.append((np.array(indices), np.array(weights), options["batching"]))
        return run_epoch(steps, learner, feed, indices, weights, **options)

    monkeypatch.setattr(driver, "run_epoch", spy)
    return calls


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": 0.3}, {"weight_decay": 0.07}, {"augment": False}], ids=str
)
def test_the_steps_are_those_of_the_settings(settings):
    """The same arguments give the same steps, so equal steps were made of equal settings."""
    settings = {"momentum": 0.9, "weight_decay": 5e-4, "augment": True} | settings
    data = linear_problem.linear_data()
    model = Model("linear", linear_problem.init, linear_problem.apply)
    config = resolve(TrainConfig(strategy="random", **settings))
    run, _ = prepare(config, data, model)
    wanted = make_steps(
        model,
        data,
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        augmented=settings["augment"],
    )
    assert run.steps["model"] == wanted


@pytest.mark.parametrize(
    ("strategy", "settings", "weights"),
    [
        ("gradmatch", {}, "selection"),
        ("gradmatch", {"weighting": "batch"}, "batch"),
        ("craig", {}, "batch"),
        ("craig", {"weighting": "selection"}, "selection"),
        ("craig-pb", {}, "batch"),
    ],
)
def test_where_weights_are_brought_to_mean_one(epochs, strategy, settings, weights):
    toy(strategy=strategy, epochs=1, **settings)
    [(_, given, batching)] = epochs
    assert batching.weights == weights
    assert given.mean() == pytest.approx(1, rel=1e-5)
    assert len(np.unique(given)) > 1, "or the scaling would not matter"


def test_infobatch_observes_and_keeps_the_scale_of_its_weights(epochs):
    config = TrainConfig(strategy="infobatch", epochs=4, batch_size=5, lr=0.05)
    train(config, dataset=toy_dataset(), model=linear())
    sizes = [len(indices) for indices, _, _ in epochs]
    assert sizes[0] == 60
    assert min(sizes[1:3]) < 60, "no loss was observed"
    pruned = epochs[int(np.argmin(sizes))]
    assert set(pruned[1].tolist()) == {1.0, 2.0}
    assert pruned[2].weights == "none"


def test_each_epoch_trains_on_the_selection_made_before_it(epochs):
    for count in (1, 2, 3):
        result = toy(strategy="adaptive-random", epochs=count)
        last = np.asarray(result.state.selection.indices)
        assert set(epochs[-1][0].tolist()) == set(last.tolist())
    assert set(epochs[-1][0].tolist()) != set(epochs[-2][0].tolist())
