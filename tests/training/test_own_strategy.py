"""A strategy that is handed over as a model and a data set are, and what it may return."""

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.strategies import Entry
from gradmatch_jax.strategies.gradmatch import gradmatch
from gradmatch_jax.strategies.strategy import Strategy, Task, stateless
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train

SHORT = {"model": "logistic", "fraction": 0.1, "epochs": 3, "batch_size": 50}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.mark.thorough
def test_a_function_an_entry_or_the_object_itself(digits, tmp_path):
    config = TrainConfig(**SHORT, select_every=2)

    def losses(out=None, **own):
        result = train(config, out, dataset=digits, **own)
        assert result.summary["strategy"] == ("own" if own else "gradmatch")
        return [row["train_loss"] for row in result.log]

    named = losses()
    assert losses(strategy=gradmatch) == named
    assert losses(strategy=Entry(gradmatch, "interval", "", "")) == named
    task = Task(digits.train.labels, digits.num_classes, round(0.1 * len(digits.train)))
    made = gradmatch(task, options=MatchingOptions(lam=100.0))
    other = losses(tmp_path / "run", strategy=made)
    assert other != named
    assert losses(tmp_path / "run", strategy=made) == other, "its folder is its own"
    with pytest.raises(UserError, match="strategy must be"):
        losses(strategy=3)


def broken(**changes):
    """A strategy that returns something else than it should."""

    def build(task):
        def select(state, snapshot, key):
            good = unweighted(jnp.arange(task.budget, dtype=jnp.int32))
            return good._replace(**{k: v(getattr(good, k)) for k, v in changes.items()}), state

        return Strategy(init=stateless, select=select)

    return build


BAD_ANSWERS = [
    ({"indices": lambda x: x + 100_000}, "lie outside 0.."),
    ({"indices": lambda x: x - 1}, "1 indices lie outside"),
    ({"indices": lambda x: x // 2}, "stand twice"),
    ({"indices": lambda x: x.astype(jnp.float32)}, "float32, not integers"),
    ({"indices": lambda x: x[:-1]}, "both must be (k,)"),
    ({"weights": lambda x: x * jnp.nan}, "nan or inf"),
    ({"weights": lambda x: x - 2}, "negative"),
    ({"weights": lambda x: x[None]}, "both must be (k,)"),
    ({"size": lambda x: x + 1}, "size"),
    ({"size": lambda x: x - 1}, "must be -1 and weights 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ANSWERS)
def test_what_a_strategy_returns_is_checked(digits, changes, message):
    config = TrainConfig(strategy="mine", **SHORT)
    with pytest.raises(UserError) as error:
        train(config, dataset=digits, strategy=broken(**changes))
    assert "strategy 'mine'" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_one_that_returns_no_pair_is_told(digits):
    own = Strategy(init=stateless, select=lambda state, snapshot, key: jnp.arange(3))
    with pytest.raises(UserError, match="must return"):
        train(TrainConfig(**SHORT), dataset=digits, strategy=own)


def test_one_that_says_so_may_repeat_and_be_signed(digits):
    def build(task):
        def select(state, snapshot, key):
            chosen = unweighted(jnp.zeros(task.budget, jnp.int32))
            return chosen._replace(weights=chosen.weights.at[0].set(-1.0)), state

        return Strategy(init=stateless, select=select, repeats=True, signed=True)

    result = train(TrainConfig(**SHORT), dataset=digits, strategy=build)
    assert np.isfinite(result.summary["test_accuracy"])
