"""Scores against SciPy and hand-counted events; top k, ties, and several networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from gradmatch_jax.data.digits import read_digits
from gradmatch_jax.errors import UserError
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.strategies import build_strategy
from gradmatch_jax.strategies.scores import highest
from gradmatch_jax.strategies.strategy import Pass, Seen, Snapshot, Task
from toys import LONG

N, CLASSES, BUDGET = 90, 5, 20
NETWORK_SCORES = ["entropy", "el2n", "grand"]


def digits_snapshot(steps=20):
    """Softmax regression on real digits; the norms are of its gradients in all its parameters."""
    split = read_digits().train
    x = split.inputs.reshape(len(split), -1).astype(np.float64) / 255.0
    y = np.asarray(split.labels)
    weights = np.zeros((64, 10))
    for _ in range(steps):
        weights -= 0.1 * x.T @ (softmax(x @ weights, axis=1) - np.eye(10)[y]) / len(x)
    z = x @ weights
    delta = softmax(z, axis=1) - np.eye(10)[y]
    norms = np.linalg.norm(delta[:, :, None] * x[:, None, :], axis=(1, 2))
    logits, features = (jnp.asarray(v, jnp.float32) for v in (z, x))
    train = Pass(logits, features, jnp.asarray(y, jnp.int32))
    return Snapshot(train, None, jnp.asarray(norms, jnp.float32))


def made_up(seed):
    """Another network's pass over the same 90 examples."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES
    logits = jnp.asarray(2 * rng.normal(size=(N, CLASSES)), jnp.float32)
    train = Pass(logits, jnp.zeros((N, 1)), jnp.asarray(labels, jnp.int32))
    return Snapshot(train, None, jnp.asarray(rng.gamma(2.0, size=N), jnp.float32))


def oracle(name, snapshot):
    """The score in float64."""
    p = softmax(np.asarray(snapshot.train.logits, np.float64), axis=1)
    if name == "entropy":
        return scipy_entropy(p, axis=1)
    if name == "el2n":
        return np.linalg.norm(p - np.eye(p.shape[1])[np.asarray(snapshot.train.labels)], axis=1)
    return np.asarray(snapshot.gradient_norms, np.float64)


def build(name, n=N, budget=BUDGET):
    return build_strategy(name, Task(np.arange(n) % CLASSES, CLASSES, budget))


def chosen(selection, budget):
    indices = np.asarray(selection.indices)
    assert indices.shape == (budget,)
    assert indices.dtype == np.int32
    assert np.asarray(selection.weights).tolist() == [1.0] * budget
    assert int(selection.size) == int(selection.num_matched) == budget
    assert np.isnan(selection.matching_error)
    found = set(indices.tolist())
    assert len(found) == budget
    assert min(found) >= 0
    return found


def top(scores, k):
    return set(np.argsort(-np.asarray(scores), kind="stable")[:k].tolist())


@pytest.mark.parametrize("name", NETWORK_SCORES)
def test_score_is_its_definition(name):
    """On digits: the score that the state carries, and its top 300 over the whole data set."""
    snapshot = digits_snapshot()
    strategy = build(name, n=1797, budget=300)
    state = strategy.init(jax.random.key(0))
    selection, state = strategy.select(state, snapshot, jax.random.key(1))
    expected = oracle(name, snapshot)
    np.testing.assert_allclose(state["total"], expected, rtol=1e-4, atol=1e-6)
    found = chosen(selection, 300)
    kth = np.sort(expected)[-300]
    assert expected[sorted(found)].min() >= kth * (1 - 1e-5)


def test_scores_are_different_orders():
    """They would not be worth three names otherwise; and none is per class."""
    snapshot, found = digits_snapshot(), {}
    for name in NETWORK_SCORES:
        strategy = build(name, n=1797, budget=300)
        selection, _ = strategy.select(
            strategy.init(jax.random.key(0)), snapshot, jax.random.key(1)
        )
        found[name] = chosen(selection, 300)
        counts = np.bincount(np.asarray(snapshot.train.labels)[sorted(found[name])], minlength=10)
        assert counts.max() > 2 * counts.min()
    assert len({frozenset(s) for s in found.values()}) == 3


@pytest.mark.parametrize("name", NETWORK_SCORES)
def test_scores_are_averaged_over_the_networks(name):
    """Each select adds a network; the last selection is by the mean of three."""
    strategy = build(name)
    state, scores = strategy.init(jax.random.key(0)), np.zeros(N)
    for i in range(3):
        selection, state = strategy.select(state, made_up(i), jax.random.key(i))
        scores += oracle(name, made_up(i))
        assert chosen(selection, BUDGET) == top(scores, BUDGET)
    assert chosen(selection, BUDGET) != top(oracle(name, made_up(2)), BUDGET)


def test_certain_network_has_entropy_zero_and_no_nan():
    snapshot = made_up(0)
    labels = np.asarray(snapshot.train.labels)
    certain = snapshot.train._replace(
        logits=jnp.asarray(1e4 * np.eye(CLASSES)[labels], jnp.float32)
    )
    for name in ("entropy", "el2n"):
        strategy = build(name)
        state = strategy.init(jax.random.key(0))
        found = []
        for seed in (1, 2):
            selection, after = strategy.select(
                state, snapshot._replace(train=certain), jax.random.key(seed)
            )
            assert np.asarray(after["total"]).tolist() == [0.0] * N
            found.append(chosen(selection, BUDGET))
        assert found[0] != found[1], "all tie: the key draws"


@pytest.mark.parametrize("name", NETWORK_SCORES)
def test_network_that_diverged(name):
    snapshot = made_up(0)
    broken = snapshot.train._replace(logits=snapshot.train.logits.at[4, 2].set(jnp.nan))
    bad = Snapshot(broken, None, snapshot.gradient_norms.at[4].set(jnp.inf))
    strategy = build(name)
    with pytest.raises(UserError, match="scores of 1 of 90 examples are nan or inf"):
        strategy.select(strategy.init(jax.random.key(0)), bad, jax.random.key(1))


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("budget", [0, 1, 13, 30, 34])
def test_highest_has_the_budget_and_draws_ties(budget):
    """Ten examples at 3, ten at 2, ten at 1: full levels are taken, the cut one is drawn evenly."""
    levels = np.random.default_rng(0).permutation(np.repeat([1.0, 2.0, 3.0], 10))
    counts = np.zeros(30)
    for seed in range(200):
        selection = highest(jnp.asarray(levels, jnp.float32), budget, jax.random.key(seed))
        assert selection.indices.shape == (budget,)
        real = np.asarray(selection.indices)[: min(budget, 30)]
        assert len(set(real.tolist())) == int(selection.size) == min(budget, 30)
        assert np.all(np.asarray(selection.indices)[30:] == -1)
        counts[real] += 1
    left = min(budget, 30)
    for level in (3.0, 2.0, 1.0):
        share = min(left, 10) / 10
        left -= min(left, 10)
        spread = 4.5 * np.sqrt(200 * share * (1 - share)) + 1e-9
        assert np.all(np.abs(counts[levels == level] - 200 * share) <= spread)


def train(strategy, state, rows, order_seed=0):
    """Observe epochs given as strings, one a presentation: 1 right, 0 wrong, - not shown."""
    rng = np.random.default_rng(order_seed)
    for row in rows:
        shown = rng.permutation([i for i, c in enumerate(row) if c != "-"]).astype(np.int32)
        correct = np.array([row[i] == "1" for i in shown], bool)
        state = strategy.observe(state, Seen(shown, {"correct": correct}))
    return state


# Columns are examples, rows are epochs.
FIRST = [
    "1000101-",
    "1010010-",
    "1000101-",
    "1000010-",
    "1000100-",
]
# 0: always right. 1: never learnt. 2: learnt at 2, forgotten at 3. 3: never. 4: 1 0 1 0 1, twice.
# 5: 0 1 0 1 0, twice. 6: 1 0 1 0 0, twice. 7: never shown, so never learnt.
FIRST_COUNTS = [0, 5, 1, 5, 2, 2, 2, 5]
SECOND = [
    "01011110",
    "01001110",
    "01110-11",
]
# 0: never learnt now. 2: learnt at 3. 3: 1 0 1. 4: 1 1 0. 5: 1 1, then not shown. 7: 0 0 1.
SECOND_COUNTS = [3, 0, 0, 1, 1, 0, 0, 0]


def test_forgetting_events_are_those_counted_by_hand():
    """Two networks. A new one's first presentation is no transition: example 0 ends the first
    right and begins the second wrong, and its 3 are for a network that never learnt it."""
    strategy = build_strategy("forgetting", Task(np.zeros(8, int), 1, 3))
    state = train(strategy, strategy.init(jax.random.key(0)), FIRST)
    selection, state = strategy.select(state, Snapshot(), jax.random.key(1))
    assert state["total"].tolist() == FIRST_COUNTS
    assert chosen(selection, 3) == {1, 3, 7}, "never learnt comes before forgotten"
    state = train(strategy, state, SECOND, order_seed=1)
    selection, state = strategy.select(state, Snapshot(), jax.random.key(2))
    total = np.add(FIRST_COUNTS, SECOND_COUNTS)
    assert state["total"].tolist() == total.tolist()
    assert total.tolist() == [3, 5, 1, 6, 3, 2, 2, 5]
    assert chosen(selection, 3) == {1, 3, 7}


def test_forgetting_is_a_count_of_transitions():
    """Against the authors' way of counting, on 12 epochs of a random walk of 200 examples."""
    rng = np.random.default_rng(0)
    flags = np.cumsum(rng.normal(size=(12, 200)), axis=0) > 1
    strategy = build_strategy("forgetting", Task(np.zeros(200, int), 1, 50))
    state = strategy.init(jax.random.key(0))
    for epoch in flags:
        order = rng.permutation(200).astype(np.int32)
        state = strategy.observe(state, Seen(order, {"correct": epoch[order]}))
    selection, state = strategy.select(state, Snapshot(), jax.random.key(1))
    events = (np.diff(flags.astype(int), axis=0) == -1).sum(0)
    expected = np.where(flags.any(0), events, len(flags))
    assert len(set(expected.tolist())) > 3
    assert state["total"].tolist() == expected.tolist()
    found = chosen(selection, 50)
    assert sorted(expected[sorted(found)]) == sorted(expected)[-50:]
    assert expected[expected < 12].max() <= 6, "never more events than half the epochs"


@pytest.mark.thorough
def test_forgetting_without_an_epoch_draws():
    strategy = build("forgetting")
    state = strategy.init(jax.random.key(0))
    found = [chosen(strategy.select(state, Snapshot(), key)[0], BUDGET) for key in
             jax.random.split(jax.random.key(1), 2)]  # fmt: skip
    assert found[0] != found[1]


def test_epochs_of_any_size_compile_nothing():
    """A subset's epochs are observed too."""
    strategy = build("forgetting")
    state = train(strategy, strategy.init(jax.random.key(0)), ["1" * N])
    with compile_seconds() as read:
        train(strategy, state, ["01" * 20 + "-" * 50, "-" * 70 + "0" * 20])
    assert read() == 0.0
