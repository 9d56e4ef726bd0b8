"""Passes kept in half precision: what is solved is what the same numbers in float32 pose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients, per_gradient
from gradmatch_jax.inputs.arrays import widened
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.matching import Sizes, _match_groups
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form
from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.strategy import Pass, Snapshot, Strategy, Task
from gradmatch_jax.strategies.task import LossPass
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from toys import LONG, linear, toy_dataset

N, CLASSES, WIDTH, BUDGET = 60, 4, 5, 12
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(4), [20, 15, 15, 10]))
HALVES = ("bfloat16", "float16")


def kept(dtype, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, CLASSES)) + 2 * np.eye(CLASSES)[LABELS]
    features = np.abs(rng.normal(size=(N, WIDTH)))
    return Pass(jnp.asarray(logits, dtype), jnp.asarray(features, dtype), jnp.asarray(LABELS))


def wide(half):
    """The same numbers in float32, the gradients' among them."""
    residuals, features = widened(half.gradients)
    return LossPass(widened(half.logits), features, half.labels, residuals)


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_are_rounded_once(dtype):
    half = kept(dtype)
    assert half.gradients.residuals.dtype == half.gradients.features.dtype == jnp.dtype(dtype)
    exact = last_layer_gradients(half.logits, half.features, half.labels).residuals
    assert exact.dtype == jnp.float32
    np.testing.assert_array_equal(half.gradients.residuals, exact.astype(dtype))


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("dtype", [HALVES[0], *(pytest.param(x, marks=LONG) for x in HALVES[1:])])
@pytest.mark.parametrize("name", [name for name, entry in STRATEGIES.items() if entry.reads])
def test_a_strategy_computes_in_float32(name, dtype):
    strategy = build_strategy(name, Task(LABELS, CLASSES, BUDGET, LABELS), {"batch_size": 7})
    key, train_pass, held = jax.random.key(3), kept(dtype), kept(dtype, 1)
    norms = jnp.arange(N, dtype=jnp.float32)
    found, wanted = (
        strategy.select(strategy.init(key), Snapshot(*passes, norms), key)[0]
        for passes in ((train_pass, held), (wide(train_pass), wide(held)))
    )
    assert found.weights.dtype == wanted.weights.dtype
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=1e-5)


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("approximation", ["exact", "per_gradient"])
@pytest.mark.parametrize(
    "half",
    [
        pytest.param(
            "bfloat16",
            marks=pytest.mark.skipif(
                jax.__version_info__ < (0, 11),
                reason="XLA of jax 0.10 takes rows of bfloat16 in a loop by widening all of them",
            ),
        ),
        "float16",
    ],
)
def test_no_float32_copy_of_all_rows_is_made(half, approximation):
    """Only the rows of the groups in work are widened."""
    n, classes, width = 4000, 40, 30
    labels, own = np.arange(n) % classes, approximation == "per_gradient"
    groups = partition(labels, 400)
    memory = {}

    def matched(gradients):
        gradients = per_gradient(gradients, groups.group_of) if own else gradients
        padded, options = groups.padded(classes, 100), MatchingOptions()
        sizes = Sizes(10, 400, Form.FEATURES, None)
        return _match_groups(gradients, padded, None, options, jax.random.key(0), sizes)[0]

    for dtype in ("float32", half):
        gradients = LastLayerGradients(jnp.ones((n, classes), dtype), jnp.ones((n, width), dtype))
        analysis = jax.jit(matched).lower(gradients).compile().memory_analysis()
        assert analysis is not None
        memory[dtype] = analysis.temp_size_in_bytes
    assert memory[half] < memory["float32"]


@pytest.mark.thorough
@LONG
def test_a_user_s_own_half_gradients_are_kept_too():
    half = kept("float16").gradients
    found = select_subset(half, BUDGET, labels=LABELS, lam=0.01)
    wanted = select_subset(widened(half), BUDGET, labels=LABELS, lam=0.01)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    assert found.weights.dtype == jnp.float32
    mixed = LastLayerGradients(half.residuals, half.features.astype(jnp.float32))
    np.testing.assert_array_equal(select_subset(mixed, 4).indices, select_subset(half, 4).indices)


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_a_run_shows_its_strategy_what_it_keeps(dtype, tmp_path):
    shown = []

    def select(state, snapshot, key):
        for seen in (snapshot.train, snapshot.validation):
            shown.extend((seen.logits.dtype, seen.features.dtype))
        return unweighted(jnp.arange(4, dtype=jnp.int32)), state

    own = Strategy(lambda key: {}, select, needs=("train", "validation"))
    config = TrainConfig(fraction=0.1, epochs=1, batch_size=5, pass_dtype=dtype)
    train(config, tmp_path / "a", dataset=toy_dataset(), model=linear(), strategy=own)
    assert shown == [jnp.dtype(dtype)] * 4


def test_it_needs_a_strategy_that_reads_a_pass():
    with pytest.raises(UserError, match="--pass-dtype does not apply to random"):
        train(TrainConfig(strategy="random", pass_dtype="bfloat16"))
