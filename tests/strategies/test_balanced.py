"""`balanced`: adaptive-random's coverage, and epochs whose gradient is nearly that of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import last_layer_gradients
from gradmatch_jax.strategies.balanced import balanced, dealt, sketched_gradients
from gradmatch_jax.strategies.strategy import Seen, Snapshot, Task

N, CLASSES, FEATURES = 300, 3, 6
RNG = np.random.default_rng(0)
LABELS = np.sort(RNG.integers(0, CLASSES, N))
LOGITS = jnp.asarray(RNG.normal(size=(N, CLASSES)) + 2 * np.eye(CLASSES)[LABELS], jnp.float32)
CENTRES = RNG.normal(size=(CLASSES, FEATURES))
HIDDEN = jnp.asarray(np.abs(CENTRES[LABELS] + RNG.normal(size=(N, FEATURES))), jnp.float32)


def epochs(k, count, *, seen=True):
    """What `count` epochs of k examples train on, the network standing still."""
    strategy = balanced(Task(LABELS, CLASSES, k))
    state = strategy.init(jax.random.key(0))
    recorded = jax.device_get(sketched_gradients(LOGITS, HIDDEN, jnp.asarray(LABELS)))
    rows = []
    for key in jax.random.split(jax.random.key(1), count):
        selection, state = strategy.select(state, Snapshot(), key)
        chosen = np.asarray(selection.indices)
        rows.append(chosen)
        if seen:
            one = {name: values[chosen] for name, values in recorded.items()}
            state = strategy.observe(state, Seen(chosen, one))
    return rows


@pytest.mark.parametrize("k", [1, 7, 50, 100, 160, 299, 300])
def test_all_are_trained_on_before_any_is_again(k):
    rows = epochs(k, 3 * -(-N // k) + 1)
    assert all(len(set(chosen.tolist())) == k for chosen in rows)
    counts = np.zeros(N, int)
    for chosen in rows:
        counts[chosen] += 1
        assert counts.max() - counts.min() <= 2
    order = np.concatenate(rows)
    for start in range(0, len(order) - N + 1, N):
        assert len(set(order[start : start + N].tolist())) == N


def spread(rows):
    """The mean squared distance of an epoch's mean gradient from that of all."""
    r, h = last_layer_gradients(LOGITS, HIDDEN, jnp.asarray(LABELS))[:2]
    inputs = np.concatenate([np.ones((N, 1)), np.asarray(h, np.float64)], axis=1)
    g = np.einsum("nc,ne->nce", np.asarray(r, np.float64), inputs).reshape(N, -1)
    return np.mean([np.sum((g[chosen].mean(0) - g.mean(0)) ** 2) for chosen in rows])


@pytest.mark.parametrize("k", [12, 30, 75])
def test_epochs_have_the_gradient_of_all_the_data(k):
    """Nothing is known of the first order's examples, and all of the others'."""
    per_order = N // k
    rows = epochs(k, 9 * per_order)
    blind = epochs(k, 9 * per_order, seen=False)
    assert spread(rows[per_order:]) < 0.4 * spread(blind)
    assert spread(blind) == pytest.approx(spread(rows[:per_order]), rel=0.8)


def test_a_deal_keeps_the_sizes_and_what_is_held_out_of_the_first():
    alike, gradients = RNG.permutation(40), RNG.normal(size=(40, 5))
    for held in ([], [3, 4], list(range(9))):
        part = dealt(alike, gradients, 10, np.array(held, int))
        assert np.bincount(part).tolist() == [
            size for size in (10 - len(held), 10, 10, 10, len(held)) if size
        ]
        assert not np.any(part[held] == 0)
        kept = alike[alike != 0]  # and where those held are next to each other in every tuple
        again = dealt(
            np.concatenate([held, np.setdiff1d(kept, held), [0] * (0 not in held)]).astype(int),
            gradients,
            10,
            np.array(held, int),
        )
        assert not np.any(again[held] == 0)


def test_inner_products_of_sketches_are_those_of_gradients():
    labels = jnp.asarray(LABELS)
    made = np.asarray(sketched_gradients(LOGITS, HIDDEN, labels)["sketches"], np.float64)
    r, h = last_layer_gradients(LOGITS, HIDDEN, labels)[:2]
    true = (r @ r.T) * (1 + h @ h.T)
    norms = np.sqrt(np.diag(true))
    error = (made @ made.T - true) / np.outer(norms, norms)
    assert np.abs(error.mean()) < 0.1
    assert np.sqrt(np.mean(error**2)) < 4 / np.sqrt(64)


def test_what_is_not_finite_counts_as_nothing():
    strategy = balanced(Task(LABELS, CLASSES, 30))
    state = strategy.init(jax.random.key(0))
    bad = {
        "sketches": np.full((2, 64), np.nan, np.float32),
        "residual_norms": np.full(2, np.inf, "f4"),
    }
    state = strategy.observe(state, Seen(np.array([1, 2], np.int32), bad))
    assert not np.any(np.asarray(state["sketches"]))
    assert not np.any(np.asarray(state["residual_norms"]))
