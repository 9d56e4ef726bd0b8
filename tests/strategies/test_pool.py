"""A pool: a fresh stratified share of the data, the same answer where it is everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.pool import pooled
from gradmatch_jax.strategies.strategy import Pass, Snapshot, Task
from toys import LONG, mostly_long

N, CLASSES, FEATURES, BUDGET = 200, 4, 5, 12
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(4), [80, 60, 40, 20])).astype(int)
HELD = np.resize(np.arange(CLASSES), 40)
TASK = Task(LABELS, CLASSES, BUDGET, HELD)
READERS = [name for name, entry in STRATEGIES.items() if entry.reads]


def whole(labels, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), CLASSES)) + np.eye(CLASSES)[labels]
    features = np.abs(rng.normal(size=(len(labels), FEATURES)))
    to = [jnp.asarray(x, jnp.float32) for x in (logits, features)]
    return Pass(*to, jnp.asarray(labels, jnp.int32))


DATA, VALIDATION = whole(LABELS), whole(HELD, 9)


def take(part, rows):
    return jax.tree.map(lambda x: x[rows], part)


def look(strategy, state, key):
    """What the driver hands to a strategy."""
    rows = strategy.rows(state, key)
    norms = jnp.linalg.norm(DATA.gradients.residuals, axis=1)
    if rows is None:
        return Snapshot(DATA, VALIDATION, norms)
    held = None if rows.validation is None else take(VALIDATION, rows.validation)
    return Snapshot(take(DATA, rows.train), held, norms[rows.train], rows)


def make(name, share, task=TASK):
    entry = STRATEGIES[name]
    keep = entry.reselect == "once"
    return pooled(lambda t: build_strategy(name, t, {"batch_size": 7}), task, share, keep=keep)


def choose(strategy, state, seed):
    key = jax.random.key(seed)
    return strategy.select(state, look(strategy, state, key), key)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", mostly_long(READERS, "gradmatch", "gradmatch-pb", "craig", "glister")
)
def test_selections_name_rows_of_the_whole_set(name):
    strategy = make(name, 0.4)
    state = strategy.init(jax.random.key(0))
    found = []
    for seed in (1, 2):
        key = jax.random.key(seed)
        rows = strategy.rows(state, key)
        counts = np.bincount(LABELS[rows.train], minlength=CLASSES)
        assert counts.tolist() == [32, 24, 16, 8], "stratified"
        assert len(set(rows.train.tolist())) == 80
        assert len(rows.validation) == 16
        before = jax.tree.structure(state)
        selection, state = choose(strategy, state, seed)
        assert jax.tree.structure(state) == before
        indices = np.asarray(selection.indices)[: int(selection.size)]
        assert int(selection.size) == BUDGET
        assert set(indices.tolist()) <= set(rows.train.tolist())
        found.append(set(rows.train.tolist()))
    assert (found[0] == found[1]) == (STRATEGIES[name].reselect == "once"), "drawn anew"


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("name", READERS)
def test_the_whole_pool_is_no_pool(name):
    plain, wide = build_strategy(name, TASK, {"batch_size": 7}), make(name, 1.0)
    state = plain.init(jax.random.key(0))
    for a, b in zip(choose(plain, state, 3)[0], choose(wide, state, 3)[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough
def test_the_pools_problem_is_solved_as_if_it_were_the_data():
    """The same as the strategy by itself on those rows, mapped back by hand."""
    strategy = make("gradmatch-per-class", 0.5)
    state, key = strategy.init(jax.random.key(0)), jax.random.key(4)
    rows = strategy.rows(state, key).train
    found, _ = strategy.select(state, look(strategy, state, key), key)
    alone = build_strategy("gradmatch-per-class", Task(LABELS[rows], CLASSES, BUDGET))
    expected, _ = alone.select({}, Snapshot(take(DATA, rows)), key)
    np.testing.assert_array_equal(found.indices, rows[np.asarray(expected.indices)])
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-5)


@pytest.mark.parametrize(
    ("share", "budget", "size"), [(0.01, 12, 24), (0.5, 12, 100), (0.2, 90, 180), (0.2, 150, 200)]
)
def test_never_less_than_twice_the_budget(share, budget, size):
    strategy = make("gradmatch", share, TASK._replace(budget=budget))
    rows = strategy.rows(strategy.init(jax.random.key(0)), jax.random.key(1))
    assert len(rows.train) == size


@pytest.mark.thorough
def test_a_second_selection_does_not_compile():
    from gradmatch_jax.measure.clock import compile_seconds

    strategy = make("gradmatch", 0.4)
    state = strategy.init(jax.random.key(0))
    _, state = choose(strategy, state, 1)
    snapshot = look(strategy, state, jax.random.key(2))
    with compile_seconds() as read:
        strategy.select(state, snapshot, jax.random.key(2))
    assert read() == 0.0
