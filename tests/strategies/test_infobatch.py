"""InfoBatch: nothing pruned at first, half of the low losses later, the gradient unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from gradmatch_jax.data.digits import read_digits
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.infobatch import prune
from gradmatch_jax.strategies.regime import PRUNING
from gradmatch_jax.strategies.strategy import Seen, Snapshot, Task
from toys import key_list

DRAWS = 2000


def digits():
    """Per-example gradients (n, 640) and losses: softmax regression on 500 digits."""
    split = read_digits().train
    x = split.inputs.reshape(len(split), -1)[:500].astype(np.float64) / 255.0
    onehot = np.eye(10)[np.asarray(split.labels)[:500]]
    weights = np.zeros((64, 10))
    for _ in range(20):
        weights -= 0.1 * x.T @ (softmax(x @ weights, axis=1) - onehot) / 500
    p = softmax(x @ weights, axis=1)
    gradients = ((p - onehot)[:, :, None] * x[:, None, :]).reshape(500, -1)
    return gradients, -np.log((p * onehot).sum(1))


def per_example(selection, n):
    """Weights in data-set order, 0 where dropped: (draws, n)."""
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    dense = np.zeros((len(indices), n + 1))
    np.put_along_axis(dense, np.where(indices < 0, n, indices), weights, axis=1)
    return dense[:, :n]


@pytest.fixture(scope="module")
def drawn():
    gradients, losses = digits()
    keys = jax.random.split(jax.random.key(0), DRAWS)
    selection = jax.vmap(lambda key: prune(jnp.asarray(losses, jnp.float32), key))(keys)
    return gradients, losses, selection


def build(n):
    return build_strategy("infobatch", Task(np.zeros(n, int), 1, n))


def test_gradient_is_unbiased(drawn):
    """The mean of sum w g over 2000 draws is the full sum, to 4.5 standard errors.

    A low example's weight is 0 or 2, so each adds g² to the variance.
    """
    gradients, losses, selection = drawn
    full = gradients.sum(0)
    found = per_example(selection, 500) @ gradients
    low = losses < losses.mean()
    error = np.sqrt((gradients[low] ** 2).sum(0) / DRAWS)
    live = error > 0  # some pixels are dark in all low images
    assert live.sum() > 400
    assert np.all(np.abs(found.mean(0) - full)[live] < 4.5 * error[live])
    np.testing.assert_allclose(found[:, ~live], np.broadcast_to(full[~live], found[:, ~live].shape))
    spread = found.var(0)[live] / (DRAWS * error[live] ** 2)
    assert spread.mean() == pytest.approx(1.0, rel=0.05)
    unweighted = (per_example(selection, 500) > 0) @ gradients
    bias = np.abs(unweighted.mean(0) - full)[live]
    assert np.any(bias > 20 * error[live]), "without the weights it would show"


def test_low_losses_stay_with_probability_one_half(drawn):
    """The kept share is 1 - r P(below the mean); each low example is kept in half the draws."""
    _, losses, selection = drawn
    low = losses < losses.mean()
    assert 100 < low.sum() < 400
    kept = per_example(selection, 500) > 0
    assert np.all(kept[:, ~low])
    assert np.all(np.abs(kept[:, low].mean(0) - 0.5) < 4.9 * 0.5 / np.sqrt(DRAWS))
    share = np.asarray(selection.size).mean() / 500
    error = np.sqrt(low.sum() * 0.25 / DRAWS) / 500
    assert abs(share - (1 - 0.5 * low.mean())) < 4.5 * error
    both = np.cov(kept[:, low].T.astype(float))
    off = both[~np.eye(low.sum(), dtype=bool)]
    assert abs(off.mean()) < 1e-3, "one example's draw is not another's"


def test_selection_is_well_formed(drawn):
    _, losses, selection = drawn
    low = losses < losses.mean()
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    assert indices.dtype == np.int32
    assert np.array_equal(selection.num_matched, selection.size)
    assert np.all(np.isnan(selection.matching_error))
    for i in range(0, DRAWS, 100):
        size = int(selection.size[i])
        real = indices[i, :size]
        assert np.all(indices[i, size:] == -1)
        assert np.all(weights[i, size:] == 0)
        assert len(set(real.tolist())) == size
        assert real.min() >= 0
        assert np.array_equal(weights[i, :size], np.where(low[real], 2.0, 1.0))


@pytest.mark.parametrize("ratio", [0.25, 0.8])
def test_another_ratio(ratio):
    _, losses = digits()
    low = losses < losses.mean()
    selection = prune(jnp.asarray(losses, jnp.float32), jax.random.key(3), ratio)
    size = int(selection.size)
    assert set(np.asarray(selection.weights[:size]).tolist()) == {1.0, np.float32(1 / (1 - ratio))}
    spread = np.sqrt(low.sum() * ratio * (1 - ratio))
    assert abs(500 - size - ratio * low.sum()) < 4.5 * spread


@pytest.mark.parametrize("value", [0.0, 0.1, 2.3, 1e-12])
@pytest.mark.parametrize("n", [1, 3, 7, 1000])
def test_equal_losses_prune_nothing(n, value):
    """The mean of 1000 times 0.1 in float32 need not be 0.1."""
    selection = prune(jnp.full(n, value, jnp.float32), jax.random.key(0))
    assert int(selection.size) == n
    assert sorted(selection.indices.tolist()) == list(range(n))
    assert set(selection.weights.tolist()) == {1.0}


def test_first_epoch_is_whole_and_the_losses_are_the_last_observed():
    strategy = build(6)
    assert strategy.weighting == "none", "the weights carry the gradient's scale"
    assert STRATEGIES["infobatch"].regime == PRUNING
    state = strategy.init(jax.random.key(0))
    first, state = strategy.select(state, Snapshot(), jax.random.key(1))
    assert sorted(first.indices.tolist()) == list(range(6))
    assert set(first.weights.tolist()) == {1.0}
    order = np.array([3, 1, 0, 5, 4, 2], np.int32)
    losses = np.array([0.3, 0.1, 0.0, 5.0, 4.0, 0.2], np.float32)
    before = state
    state = strategy.observe(state, Seen(order, {"losses": losses}))
    assert state["losses"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 4.0, 5.0])
    assert before["losses"].tolist() == [np.inf] * 6, "the old state is as it was"
    pruned = Seen(np.array([4, 1], np.int32), {"losses": np.array([0.5, 9.0], np.float32)})
    state = strategy.observe(state, pruned)
    assert state["losses"].tolist() == pytest.approx([0.0, 9.0, 0.2, 0.3, 0.5, 5.0])
    always = {1, 5}  # the mean is 2.5
    for seed in range(20):
        selection, _ = strategy.select(state, Snapshot(), jax.random.key(seed))
        weights = dict(zip(selection.indices.tolist(), selection.weights.tolist(), strict=True))
        weights.pop(-1, None)
        assert always <= set(weights)
        assert all(w == (1.0 if i in always else 2.0) for i, w in weights.items())


def test_examples_not_observed_yet_stay():
    """The first epoch may leave out a ragged last batch: what is unknown is not well learnt."""
    losses = jnp.asarray([0.1, 0.2, jnp.inf, 3.0, jnp.nan, 0.3], jnp.float32)
    for seed in range(20):
        selection = prune(losses, jax.random.key(seed))
        weights = dict(zip(selection.indices.tolist(), selection.weights.tolist(), strict=True))
        assert [weights.get(i) for i in (2, 3, 4)] == [1.0, 1.0, 1.0]
        assert {weights.get(i, 0.0) for i in (0, 1, 5)} <= {0.0, 2.0}


def test_epochs_of_every_size_compile_nothing():
    """Every epoch has another size: compiling for each would cost more than pruning saves."""
    strategy, rng = build(50), np.random.default_rng(0)
    state = strategy.init(jax.random.key(0))
    keys = key_list(1, 6)

    def epoch(state, key):
        selection, state = strategy.select(state, Snapshot(), key)
        kept = np.asarray(selection.indices)[: int(selection.size)]
        losses = rng.gamma(1.0, size=len(kept)).astype(np.float32)
        return strategy.observe(state, Seen(kept, {"losses": losses})), len(kept)

    state, size = epoch(state, keys[0])
    sizes = {size}
    with compile_seconds() as read:
        for key in keys[1:]:
            state, size = epoch(state, key)
            sizes.add(size)
    assert len(sizes) > 3
    assert read() == 0.0
