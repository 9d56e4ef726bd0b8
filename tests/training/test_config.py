"""Every bad setting is one line that names it and says what is wanted."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.models import model_names
from gradmatch_jax.strategies import STRATEGIES
from gradmatch_jax.training.config import TrainConfig, resolve, split_name, to_json
from gradmatch_jax.training.presets import PRESETS

OUT_OF_RANGE = {
    "fraction": (0, -0.1, 1.01, 10, math.nan),
    "kappa": (0, -1, 1.5, math.nan),
    "epochs": (0, -3),
    "select_every": (0, -1),
    "batch_size": (0, -20),
    "lr": (0, -0.01, math.inf, math.nan),
    "momentum": (-0.1, 1, 1.5, math.nan),
    "weight_decay": (-1e-4, math.inf, math.nan),
    "lam": (-0.5, math.inf, math.nan),
    "eps": (-1e-10, math.inf, math.nan),
    "glister_refresh": (0, -0.1, 1.5, math.nan),
    "proxy_epochs": (0, -1),
    "proxy_runs": (0,),
    "imbalance": (0, -0.1, 1.5, math.nan),
    "imbalance_classes": (0, 1.5, math.nan),
    "validation_fraction": (0, 1, -0.1, math.nan),
    "eval_every": (0,),
    "image_size": (0,),
    "seed": (-1, 2**32),
}
CASES = [(field, value) for field, values in OUT_OF_RANGE.items() for value in values]


@pytest.mark.parametrize(("field", "value"), CASES)
def test_out_of_range(field, value):
    with pytest.raises(UserError) as error:
        resolve(dataclasses.replace(TrainConfig(strategy="el2n"), **{field: value}))
    message = str(error.value)
    assert message.startswith(f"--{field.replace('_', '-')} must be ")
    assert message.endswith(f"not {value}")
    assert "\n" not in message


def test_every_number_has_a_range():
    numbers = {
        field.name
        for field in dataclasses.fields(TrainConfig)
        if re.search(r"\b(int|float)\b", str(field.type))
    }
    assert numbers - set(OUT_OF_RANGE) == {"checkpoint_seconds"}, "any number of seconds is fine"


@pytest.mark.parametrize(
    ("field", "kind", "typo", "meant", "known"),
    [
        ("dataset", "data set", "mnst", "mnist", PRESETS),
        ("strategy", "strategy", "gradmtach", "gradmatch", STRATEGIES),
        ("strategy", "strategy", "gradmtach-warm", "gradmatch", STRATEGIES),
        ("model", "model", "lenett", "lenet", model_names()),
    ],
)
def test_names(field, kind, typo, meant, known):
    with pytest.raises(UserError) as error:
        resolve(dataclasses.replace(TrainConfig(), **{field: typo}))
    message = str(error.value)
    assert message.startswith(f"no {kind} named")
    assert f"Did you mean '{meant}'?" in message
    assert all(name in message for name in known)
    assert "\n" not in message


def test_a_name_unlike_any_gets_no_suggestion():
    with pytest.raises(UserError) as error:
        resolve(TrainConfig(dataset="zzzzzz"))
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize("dataset", PRESETS)
def test_presets_fill_what_is_left_open(dataset):
    preset = PRESETS[dataset]
    config = resolve(TrainConfig(dataset=dataset))
    found = (config.model, config.epochs, config.batch_size, config.lr)
    assert found == (preset.model, preset.epochs, preset.batch_size, preset.lr)
    given = TrainConfig(dataset=dataset, model="logistic", epochs=3, batch_size=7, lr=0.2)
    assert resolve(given) == given
    assert resolve(config) == config


def test_the_papers_settings():
    """Appendix A.3.2: SGD, 0.01, momentum 0.9, weight decay 5e-4; T 200 and 300; lam 0.5, R 20."""
    mnist, cifar = resolve(TrainConfig(dataset="mnist")), resolve(TrainConfig(dataset="cifar10"))
    assert (mnist.model, mnist.epochs, cifar.model, cifar.epochs) == ("lenet", 200, "resnet18", 300)
    for c in (mnist, cifar):
        assert (c.lr, c.momentum, c.weight_decay) == (0.01, 0.9, 5e-4)
        assert (c.lam, c.select_every, c.kappa, c.eps) == (0.5, 20, 0.5, 1e-10)


def test_warm_suffix():
    assert split_name("gradmatch-warm") == ("gradmatch", True)
    assert split_name("gradmatch") == ("gradmatch", False)
    by_suffix = resolve(TrainConfig(strategy="gradmatch-pb-warm"))
    assert (by_suffix.strategy, by_suffix.warm) == ("gradmatch-pb", True)
    assert by_suffix == resolve(TrainConfig(strategy="gradmatch-pb", warm=True))
    assert not resolve(TrainConfig(strategy="gradmatch")).warm


def test_full_training_has_no_fraction_and_no_warm_start():
    for config in (TrainConfig(strategy="full-warm"), TrainConfig(strategy="full", fraction=0.3)):
        resolved = resolve(config)
        assert (resolved.fraction, resolved.warm) == (1.0, False)


def test_to_json_is_json():
    values = to_json(resolve(TrainConfig(data_dir=Path("some") / "where")))
    assert json.loads(json.dumps(values)) == values
    assert values["data_dir"] == str(Path("some") / "where")
    assert set(values) == {field.name for field in dataclasses.fields(TrainConfig)}


def test_settings_that_do_not_apply_are_put_to_what_is_done():
    def kind(name, **settings):
        return resolve(TrainConfig(strategy=name, model="mlp", fraction=0.3, **settings))

    cold = kind("el2n")
    assert (cold.proxy, cold.proxy_epochs) == ("mlp", 10), "a cold run scores with its own model"
    assert resolve(cold) == cold
    given = kind("el2n-warm", proxy="logistic", proxy_epochs=3)
    assert (given.proxy, given.proxy_epochs) == ("logistic", 3)
    for name in ("el2n-warm", "gradmatch"):
        assert (kind(name).proxy, kind(name).proxy_epochs) == (None, None)
    assert kind("gradmatch", proxy="logistic") == kind("gradmatch")
    pruning = kind("infobatch-warm")
    assert (pruning.fraction, pruning.warm) == (1.0, False), "it chooses its own share"
    stopped = kind("full-earlystop-warm", like=Path("runs/a"))
    assert (stopped.fraction, stopped.warm, stopped.like) == (0.3, False, Path("runs/a"))
    assert kind("random", like=Path("runs/a")).like is None
    with pytest.raises(UserError, match=r"no proxy model named 'resnet2'.*resnet20"):
        kind("el2n", proxy="resnet2")
