"""Fresh samples: exact inclusion probabilities, exact sizes, what is remembered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.strategies.fresh import inclusion, order_dp, systematic, tempered
from gradmatch_jax.strategies.strategy import Seen, Snapshot, Task

DRAWS = 600
LABELS = np.repeat([0, 1, 2], [20, 12, 8])
NORMS = np.random.default_rng(0).gamma(0.5, size=40).astype(np.float32)
TASK = Task(LABELS, 3, 10)


def seen_all(strategy, values=NORMS, name="residual_norms"):
    """The state after an epoch over all examples."""
    state = strategy.init(jax.random.key(0))
    return strategy.observe(state, Seen(np.arange(40, dtype=np.int32), {name: values}))


def drawn(strategy, state, draws=DRAWS):
    """(draws, n) weights, zero where an example was not drawn."""
    dense = np.zeros((draws, 40))
    for i, key in enumerate(jax.random.split(jax.random.key(1), draws)):
        selection, _ = strategy.select(state, Snapshot(), key)
        indices = np.asarray(selection.indices)
        assert len(set(indices.tolist())) == TASK.budget == int(selection.size)
        dense[i, indices] = np.asarray(selection.weights)
    return dense


def by_bisection(scores, total):
    """min(1, c s) for the c at which they sum to `total`."""
    low, high = 0.0, total / scores.min()
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if np.minimum(1, c * scores).sum() < total else (low, c)
    return np.minimum(1, high * scores)


@pytest.mark.parametrize("total", [1, 3.7, 10, 39, 40])
def test_probabilities_are_in_proportion_and_sum_to_the_budget(total):
    rng = np.random.default_rng(3)
    for spread in (0.1, 1.0, 3.0):
        scores = np.exp(spread * rng.normal(size=40))
        np.testing.assert_allclose(inclusion(scores, total), by_bisection(scores, total), rtol=1e-9)
        assert inclusion(scores, total).sum() == pytest.approx(total, rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"uniform": 0.4}, {"floor": 0.5}])
def test_each_example_is_drawn_with_its_probability(settings):
    """Over many draws, to 4.5 standard errors of a count."""
    share, floor = settings.get("uniform", 0.0), settings.get("floor", 0.02)
    scores = np.maximum(NORMS, floor).astype(np.float64) ** settings.get("temperature", 1.0)
    pi = (1 - share) * by_bisection(scores, 10) + share * 10 / 40
    strategy = tempered(TASK, **settings)
    hits = (drawn(strategy, seen_all(strategy)) > 0).mean(axis=0)
    error = np.sqrt(pi * (1 - pi) / DRAWS)
    assert np.all(np.abs(hits - pi) <= 4.5 * error + 1e-12)
    assert np.any(np.abs(hits - 10 / 40) > 10 * error.max()), "uniform draws would fail"


def test_weights_are_the_probabilities_tempered():
    for exponent in (0.0, 0.5, 1.0):
        strategy = tempered(TASK, exponent=exponent)
        dense = drawn(strategy, seen_all(strategy), draws=20)
        pi = by_bisection(np.maximum(NORMS, 0.02).astype(np.float64), 10)
        i, j = np.nonzero(dense)
        np.testing.assert_allclose(dense[i, j], (0.25 / pi[j]) ** exponent, rtol=1e-5)


@pytest.mark.thorough
def test_an_exponent_of_one_is_unbiased():
    """The mean of sum w g is the sum of all, scaled by k / n, to 4.5 standard errors."""
    g = np.random.default_rng(5).normal(size=40)
    strategy = tempered(TASK, exponent=1.0, uniform=0.2)
    sums = drawn(strategy, seen_all(strategy)) @ g
    assert abs(sums.mean() - g.sum() / 4) < 4.5 * sums.std() / np.sqrt(DRAWS)


def test_strata_keep_their_share():
    strategy = tempered(TASK, stratified=True)
    dense = drawn(strategy, seen_all(strategy), draws=100) > 0
    counts = np.stack([dense[:, c == LABELS].sum(axis=1) for c in range(3)], axis=1)
    assert np.all(np.abs(counts - [5, 3, 2]) <= 1)
    assert counts.mean(axis=0) == pytest.approx([5, 3, 2], abs=0.01)


def test_the_unseen_come_first():
    strategy = tempered(TASK)
    state = strategy.init(jax.random.key(0))
    rows = np.arange(8, 40, dtype=np.int32)
    state = strategy.observe(state, Seen(rows, {"residual_norms": np.full(32, 1e-3, np.float32)}))
    selection, _ = strategy.select(state, Snapshot(), jax.random.key(2))
    assert set(range(8)) <= set(selection.indices.tolist())


def test_old_scores_age_and_what_is_not_finite_is_forgotten():
    strategy = tempered(TASK, ageing=0.5)
    state = seen_all(strategy)
    one = Seen(np.array([3, 4], np.int32), {"residual_norms": np.array([0.7, np.nan], np.float32)})
    after = np.asarray(strategy.observe(state, one)["scores"])
    assert after[3] == np.float32(0.7)
    assert np.isinf(after[4])
    rest = np.arange(40) > 4
    np.testing.assert_allclose(after[rest], (NORMS[rest] + NORMS.mean()) / 2, rtol=1e-5)


def test_certain_examples_are_drawn_once_each():
    pi = inclusion(np.array([100.0] * 5 + [1.0] * 35), 10)
    assert np.all(pi[:5] == 1)
    for seed in range(200):
        chosen = systematic(pi, 10, jax.random.key(seed))
        assert len(set(chosen.tolist())) == 10
        assert set(range(5)) <= set(chosen.tolist())


def test_order_dp_takes_the_largest_losses_of_its_draw():
    strategy = order_dp(TASK, spread=2.0)
    state = seen_all(strategy, NORMS, "losses")
    key = jax.random.key(4)
    pool = np.asarray(jax.random.permutation(key, 40))[:20]
    expected = pool[np.argsort(-NORMS[pool])[:10]]
    selection, _ = strategy.select(state, Snapshot(), key)
    assert set(selection.indices.tolist()) == set(expected.tolist())
    assert np.all(np.asarray(selection.weights) == 1)
    everything = order_dp(TASK, spread=9.0)
    top, _ = everything.select(state, Snapshot(), key)
    assert set(top.indices.tolist()) == set(np.argsort(-NORMS)[:10].tolist())


def test_records_are_those_of_the_step():
    logits, labels = jnp.asarray([[0.0, 0.0], [5.0, -5.0]]), jnp.asarray([0, 0])
    features = jnp.ones((2, 3))
    norms = tempered(TASK).record(logits, features, labels)["residual_norms"]
    assert norms[0] == pytest.approx(np.sqrt(0.5))
    losses = order_dp(TASK).record(logits, features, labels)["losses"]
    assert losses[0] == pytest.approx(np.log(2.0))
