"""`balanced`: adaptive-random's coverage, and epochs whose gradient is nearly that of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import Selector, last_layer_gradients, weighted_batches
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.strategies.balanced import balanced, dealt, sketched_gradients
from gradmatch_jax.strategies.balanced import in_batches as in_batches_of
from gradmatch_jax.strategies.strategy import Seen, Snapshot, Task
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import run_epoch
from gradmatch_jax.training.schedule import Batching
from linear_problem import linear_data, linear_steps
from toys import key_list, mostly_long

N, CLASSES, FEATURES = 300, 3, 6
RNG = np.random.default_rng(0)
LABELS = np.sort(RNG.integers(0, CLASSES, N))
LOGITS = jnp.asarray(RNG.normal(size=(N, CLASSES)) + 2 * np.eye(CLASSES)[LABELS], jnp.float32)
CENTRES = RNG.normal(size=(CLASSES, FEATURES))
HIDDEN = jnp.asarray(np.abs(CENTRES[LABELS] + RNG.normal(size=(N, FEATURES))), jnp.float32)


def epochs(k, count, *, seen=True, **settings):
    """What `count` epochs of k examples train on, the network standing still."""
    strategy = balanced(Task(LABELS, CLASSES, k), **settings)
    state = strategy.init(jax.random.key(0))
    recorded = jax.device_get(sketched_gradients(LOGITS, HIDDEN, jnp.asarray(LABELS)))
    rows = []
    for key in key_list(1, count):
        selection, state = strategy.select(state, Snapshot(), key)
        chosen = np.asarray(selection.indices)
        rows.append(chosen)
        if seen:
            one = {name: values[chosen] for name, values in recorded.items()}
            state = strategy.observe(state, Seen(chosen, one))
    return rows


BATCHES, EPOCHS = {"batch_size": 8}, {"balance": "epochs"}


@pytest.mark.parametrize("settings", [EPOCHS, BATCHES], ids=["epochs", "batches"])
@pytest.mark.parametrize("k", mostly_long([1, 7, 50, 100, 160, 299, 300], 1, 100, 299))
def test_all_are_trained_on_before_any_is_again(k, settings):
    orders = 1 if k == 1 else 3  # of one example an epoch, hundreds of epochs an order
    rows = epochs(k, orders * -(-N // k) + 1, **settings)
    assert all(len(set(chosen.tolist())) == k for chosen in rows)
    counts = np.zeros(N, int)
    for chosen in rows:
        counts[chosen] += 1
        assert counts.min() == counts.sum() // N
        assert counts.max() == -(-counts.sum() // N)


def spread(rows):
    """The mean squared distance of an epoch's mean gradient from that of all."""
    r, h = last_layer_gradients(LOGITS, HIDDEN, jnp.asarray(LABELS))[:2]
    inputs = np.concatenate([np.ones((N, 1)), np.asarray(h, np.float64)], axis=1)
    g = np.einsum("nc,ne->nce", np.asarray(r, np.float64), inputs).reshape(N, -1)
    return np.mean([np.sum((g[chosen].mean(0) - g.mean(0)) ** 2) for chosen in rows])


@pytest.mark.parametrize("k", mostly_long([12, 30, 75], 30))
def test_epochs_have_the_gradient_of_all_the_data(k):
    """Nothing is known of the first order's examples, and all of the others'."""
    per_order = N // k
    rows = epochs(k, 9 * per_order, **EPOCHS)
    blind = epochs(k, 9 * per_order, seen=False, **EPOCHS)
    assert spread(rows[per_order:]) < 0.4 * spread(blind)
    assert spread(blind) == pytest.approx(spread(rows[:per_order]), rel=0.8)


def in_batches(rows, size):
    """The whole ones."""
    return [chosen[i : i + size] for chosen in rows for i in range(0, len(chosen) - size + 1, size)]


@pytest.mark.parametrize("k", mostly_long([16, 40, 75, 100], 40))
def test_mini_batches_have_the_gradient_of_all_the_data(k):
    """Beside random mini-batches of epochs that are dealt themselves: 0.36, 0.22, 0.14, 0.15."""
    count, size = 9 * (N // k), BATCHES["batch_size"]
    made = epochs(k, count, **BATCHES), epochs(k, count, **EPOCHS)
    ours, plain = (in_batches(rows[N // k :], size) for rows in made)
    assert [set(a.tolist()) for a in made[0][: N // k]] == [
        set(b.tolist()) for b in made[1][: N // k]
    ], "before anything is seen the epochs are the same"
    assert spread(ours) < 0.5 * spread(plain)


@pytest.mark.parametrize(("k", "size"), [(20, 8), (16, 8), (5, 8), (21, 1)])
def test_mini_batches_have_the_sizes_of_the_drivers(k, size):
    """Every row once, the last mini-batch what is left; sums about the mean nearer to zero than a
    random draw's."""
    rng = np.random.default_rng(3)
    rows, sketches = rng.permutation(50)[:k], rng.normal(size=(50, 4))
    order = in_batches_of(rng.permutation(rows), rows, jnp.asarray(sketches, jnp.float32), size)
    assert sorted(order.tolist()) == list(range(k))
    g = sketches[rows] - sketches[rows].mean(axis=0)
    sums = [g[order[i : i + size]].sum(axis=0) for i in range(0, k, size)]
    drawn = [g[rng.permutation(k)[:size]].sum(axis=0) for _ in range(500)]
    if 1 < size < k:
        assert np.sum(np.square(sums)) / len(sums) < 0.7 * np.sum(np.square(drawn)) / len(drawn)


def test_nothing_compiles_again_with_mini_batches():
    strategy = balanced(Task(LABELS, CLASSES, 40), **BATCHES)
    state, keys = strategy.init(jax.random.key(0)), key_list(1, 28)
    recorded = jax.device_get(sketched_gradients(LOGITS, HIDDEN, jnp.asarray(LABELS)))

    def train(state, keys):
        for key in keys:
            selection, state = strategy.select(state, Snapshot(), key)
            rows = np.asarray(selection.indices)
            state = strategy.observe(state, Seen(rows, {k: v[rows] for k, v in recorded.items()}))
        return state

    state = train(state, keys[:8])  # the data are used up once
    with compile_seconds() as spent:
        train(state, keys[8:])
    assert spent() == 0


def test_an_epoch_trains_in_the_order_that_it_is_given():
    """The driver's, and that of loops of one's own."""
    data = linear_data()
    steps, feed = linear_steps(data), Feed(data.train)
    rows = np.random.default_rng(0).permutation(len(feed))[:21].astype(np.int32)
    learner, options = steps.init(jax.random.key(0)), {"batch_size": 4, "lr": 0.1}
    for ordered in (True, False):
        learner, _, seen = run_epoch(
            steps, learner, feed, rows, np.ones(21, np.float32), key=jax.random.key(5),
            batching=Batching(ordered=ordered), **options,
        )  # fmt: skip
        assert (seen.indices.tolist() == rows.tolist()) == ordered
        assert sorted(seen.indices.tolist()) == sorted(rows.tolist())
    for settings in (BATCHES, EPOCHS):
        selector = Selector("balanced", labels=LABELS, fraction=0.1, seed=3, epochs=4, **settings)
        rows, _ = selector(0)
        made = weighted_batches(selector, 0, (np.arange(N),), 8)
        taken = np.concatenate([each for each, _ in made])
        assert (taken.tolist() == rows.tolist()) == (settings is BATCHES)
    warm = Selector("balanced", labels=LABELS, fraction=0.1, epochs=4, warm=True, **BATCHES)
    assert [warm.ordered(epoch) for epoch in (0, 1)] == [False, True], "a full epoch is shuffled"


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
