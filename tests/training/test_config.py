"""Every bad setting is one line that names it and says what is wanted."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.on_ray import Ray
from gradmatch_jax import settings
from gradmatch_jax.commands.compare import CompareConfig
from gradmatch_jax.commands.select import SelectConfig
from gradmatch_jax.errors import UserError
from gradmatch_jax.models import model_names
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.strategies import STRATEGIES, Entry
from gradmatch_jax.strategies.registry import split_name
from gradmatch_jax.training.config import OPTIONAL, RunConfig, TrainConfig, resolve
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
    "refresh": (0, -0.1, 1.5, math.nan),
    "ratio": (-0.1, 1, math.nan),
    "tail": (-0.1, 1, math.nan),
    "temperature": (-0.1, math.inf, math.nan),
    "exponent": (-0.1, 1.1, math.nan),
    "floor": (0, -1, math.nan),
    "uniform": (-0.1, 1.1, math.nan),
    "ageing": (-0.1, 1.1, math.nan),
    "spread": (0.9, math.nan),
    "pool": (0, -0.1, 1.5, math.nan),
    "proxy_epochs": (0, -1),
    "proxy_runs": (0,),
    "imbalance": (0, -0.1, 1.5, math.nan),
    "imbalance_classes": (0, 1.5, math.nan),
    "label_noise": (1, -0.1, math.nan),
    "validation_fraction": (0, 1, -0.1, math.nan),
    "eval_every": (0,),
    "image_size": (0,),
    "checkpoint_seconds": (-1, math.nan, math.inf),
    "checkpoint_steps": (-1,),
    "devices": (-1,),
    "read_threads": (-1,),
    "read_ahead": (0,),
    "read_workers": (-1,),
    "seed": (-1, 2**32, 10**20),
}
CASES = [(field, value) for field, values in OUT_OF_RANGE.items() for value in values]


@pytest.mark.parametrize("kind", [TrainConfig, MatchingOptions, SelectConfig, CompareConfig, Ray])
def test_defaults_are_as_their_annotations_say(kind):
    """They are checked here alone: `fitted` passes them on."""
    hints = settings._hints(kind)
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found = settings._fit(field.name, hints[field.name], field.default)
            assert found == field.default
            assert type(found) is type(field.default), field.name


def handed_over(**settings):
    """A configuration as a user may write it, past the tests' own check of its annotations."""
    config = TrainConfig()
    for name, value in settings.items():
        object.__setattr__(config, name, value)
    return config


def refused(**settings):
    with pytest.raises(UserError) as error:
        resolve(handed_over(**settings))
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("field", "value"), CASES)
def test_out_of_range(field, value):
    message = refused(**{field: value})
    assert message.startswith(f"--{field.replace('_', '-')} must be ")
    assert message.endswith(f"not {float(value) if isinstance(value, float) else value}") or (
        float(message.rsplit("not ", 1)[1]) == value
    )


def test_every_number_has_a_range():
    numbers = {
        field.name
        for field in dataclasses.fields(TrainConfig)
        if re.search(r"\b(int|float)\b", str(field.type))
    }
    assert numbers == set(OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("field", "typo", "meant"),
    [
        ("weighting", "batches", "batch"),
        ("lam_scale", "Relative", "relative"),
        ("fill", "randm", "random"),
        ("like_by", "second", "seconds"),
        ("greedy", "taylr", "taylor"),
        ("reader", "file", "files"),
    ],
)
def test_a_value_that_is_none_of_the_few(field, typo, meant):
    assert f"Did you mean '{meant}'?" in refused(**{field: typo})


WRONG_TYPES = [
    ("epochs", 2.5), ("epochs", "10"), ("epochs", True), ("batch_size", np.float32(3)),
    ("lr", "0.1"), ("lr", True), ("warm", 1), ("warm", "yes"), ("fraction", "0.1"),
    ("strategy", 3), ("dataset", None), ("data_dir", 7), ("seed", None), ("lam", np.ones(2)),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES)
def test_another_type(field, value):
    assert refused(**{field: value}).startswith(f"--{field.replace('_', '-')} must be ")


def test_numpy_and_paths_as_strings_are_served():
    given = handed_over(
        epochs=np.int64(3), lr=np.float32(0.5), warm=np.bool_(True), seed=np.uint8(7),
        fraction=np.array(0.25), data_dir="~/data", imbalance=1,
    )  # fmt: skip
    config = resolve(given)
    found = (config.epochs, config.lr, config.warm, config.seed, config.fraction)
    assert found == (3, 0.5, True, 7, 0.25)
    assert [type(x) for x in found] == [int, float, bool, int, float]
    assert config.data_dir == Path.home() / "data"
    assert json.loads(json.dumps(config.to_json())) == config.to_json()


@pytest.mark.parametrize(
    ("field", "kind", "typo", "meant", "known"),
    [
        ("dataset", "data set", "mnst", "mnist", PRESETS),
        ("dataset", "data set", "CIFAR10", "cifar10", PRESETS),
        ("strategy", "strategy", "gradmtach", "gradmatch", STRATEGIES),
        ("strategy", "strategy", "GRADMATCH", "gradmatch", STRATEGIES),
        ("strategy", "strategy", "gradmtach-warm", "gradmatch", STRATEGIES),
        ("model", "model", "lenett", "lenet", model_names()),
    ],
)
def test_names(field, kind, typo, meant, known):
    message = refused(**{field: typo})
    assert message.startswith(f"no {kind} named")
    assert f"Did you mean '{meant}'?" in message
    assert all(name in message for name in known)


@pytest.mark.parametrize("name", ["", "-warm", "zzzzzz"])
def test_a_name_unlike_any_gets_no_suggestion(name):
    assert "Did you mean" not in refused(strategy=name)


@pytest.mark.parametrize("dataset", PRESETS)
def test_presets_fill_what_is_left_open(dataset):
    preset = PRESETS[dataset]
    config = resolve(TrainConfig(dataset=dataset))
    found = (config.model, config.epochs, config.batch_size, config.lr)
    assert found == (preset.model, preset.epochs, preset.batch_size, preset.lr)
    given = resolve(TrainConfig(dataset=dataset, model="mlp", epochs=3, batch_size=7, lr=0.2))
    assert (given.model, given.epochs, given.batch_size, given.lr) == ("mlp", 3, 7, 0.2)
    assert resolve(config) is config


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


DOES_NOT_APPLY = [
    ("gradmatch", {"like": Path("runs/a")}), ("full", {"warm": True}), ("full-warm", {}),
    ("infobatch", {"fraction": 0.1}), ("infobatch", {"warm": True}), ("full", {"fraction": 0.3}),
    ("random", {"lam": 0.1}), ("random", {"select_every": 5}), ("adaptive-random", {"pool": 0.5}),
    ("craig", {"validation_target": True}), ("craig", {"fill": "none"}), ("random", {"pool": 0.5}),
    ("gradmatch", {"greedy": "naive"}), ("gradmatch", {"refresh": 0.5}),
    ("gradmatch", {"ratio": 0.3}), ("gradmatch", {"tail": 0.3}), ("gradmatch", {"kappa": 0.3}),
    ("gradmatch", {"proxy": "mlp"}), ("gradmatch", {"proxy_epochs": 3}),
    ("gradmatch", {"proxy_runs": 2}), ("el2n-warm", {"proxy_epochs": 3}),
    ("full", {"weighting": "none"}), ("full-earlystop", {"warm": True}),
    ("full-earlystop", {"like_by": "examples"}), ("el2n", {"select_every": 3}),
    ("gradmatch", {"imbalance_classes": 0.5}), ("gradmatch", {"image_size": 64}),
    ("full-earlystop", {"weighting": "batch"}), ("forgetting", {"pool": 0.5}),
    ("order-dp", {"temperature": 0.5}), ("tempered", {"spread": 3.0}),
    ("gradmatch-pb", {"target_shares": "validation"}),
    ("adaptive-random", {"balance": "epochs"}),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "settings"), DOES_NOT_APPLY)
def test_what_does_not_apply_is_refused_or_left_out(strategy, settings):
    """train refuses it; a comparison leaves it out, and it is no part of the run's identity."""
    message = refused(strategy=strategy, **settings)
    name = next(iter(settings), "warm")
    assert f"--{name.replace('_', '-')}" in message
    asked = TrainConfig(strategy=strategy, **settings)
    left = resolve(asked, strict=False)
    assert name not in left.to_json()
    assert left == resolve(TrainConfig(strategy=strategy), strict=False)


def test_a_setting_named_at_its_default_is_refused_too():
    with pytest.raises(UserError, match="--lam does not apply to random"):
        resolve(TrainConfig(strategy="random"), given=frozenset({"lam"}))


APPLIES = [
    ("gradmatch", {"lam": 0.1, "pool": 0.5, "validation_target": True, "select_every": 5}),
    ("gradmatch", {"validation_target": True, "target_shares": "validation"}),
    ("balanced-warm", {"balance": "epochs", "batch_size": 10}),
    ("gradmatch-warm", {"kappa": 0.25}), ("glister", {"greedy": "naive", "refresh": 0.5}),
    ("infobatch", {"ratio": 0.3, "tail": 0.2, "weighting": "selection"}),
    ("el2n", {"proxy": "mlp", "proxy_epochs": 3, "proxy_runs": 2, "pool": 0.5}),
    ("el2n-warm", {"proxy": "mlp", "proxy_epochs": 3}),
    ("full-earlystop", {"fraction": 0.2}),
    ("full-earlystop-fitted", {"like": Path("runs/a"), "like_by": "examples"}),
    ("tempered-warm", {"temperature": 0.5, "exponent": 0.0, "floor": 0.1, "stratified": True}),
    ("tempered", {"uniform": 0.2, "ageing": 0.1}), ("order-dp", {"spread": 3.0}),
    ("gradmatch-fresh", {"pool": 0.1, "fill": "calibrated"}),
    ("random", {"imbalance": 0.1, "imbalance_classes": 0.5}), ("random", {"label_noise": 0.2}),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "settings"), APPLIES)
def test_what_applies_is_heeded_and_recorded(strategy, settings):
    config = resolve(TrainConfig(strategy=strategy, **settings))
    written = config.to_json()
    for name, value in settings.items():
        assert getattr(config, name) == value
        assert written[name] == (str(value) if isinstance(value, Path) else value)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resolved_configuration_is_whole(name):
    config = resolve(TrainConfig(strategy=name))
    assert isinstance(config, RunConfig)
    written = config.to_json()
    assert None not in written.values()
    assert json.loads(json.dumps(written)) == written
    assert set(written) <= {field.name for field in dataclasses.fields(TrainConfig)}
    undecided = {f for f in config.applies if getattr(config, f) is None}
    assert undecided <= {"data_dir", "like", "proxy"}


def test_a_proxy_is_the_runs_own_model_unless_named():
    cold = resolve(TrainConfig(strategy="el2n", model="mlp"))
    assert (cold.proxy, cold.proxy_epochs) == ("mlp", 10)
    warm = resolve(TrainConfig(strategy="el2n-warm", model="mlp"))
    assert (warm.proxy, warm.proxy_epochs) == (None, None), "its own full epochs score"
    with pytest.raises(UserError, match=r"no proxy model named 'resnet2'.*resnet20"):
        resolve(TrainConfig(strategy="el2n", proxy="resnet2"))


def test_a_strategy_of_ones_own_takes_the_settings_that_its_signature_names():
    def mine(task, *, options, ratio=0.1):
        del task, options, ratio

    entry = Entry(mine, "epoch", "", "")
    config = resolve(TrainConfig(strategy="mine", lam=0.25, ratio=0.75), entry=entry)
    assert config.strategy_settings["options"].lam == 0.25
    assert config.strategy_settings["ratio"] == 0.75
    assert {"lam", "ratio", "warm"} <= config.applies <= OPTIONAL | config.applies
    with pytest.raises(UserError, match="--greedy does not apply to mine"):
        resolve(TrainConfig(strategy="mine", greedy="naive"), entry=entry)


def test_a_home_that_is_none():
    assert "no such home" in refused(data_dir="~nobody-here/data")
