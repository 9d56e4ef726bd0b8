"""Every registered strategy through one conformance test, and what is special to some."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.clock import compile_seconds
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.strategy import Options, Snapshot, Task

N, CLASSES, FEATURES, BUDGET = 60, 4, 5, 12
# Both have a largest class of 20 and a largest budget of 4: one compilation serves both.
ALL_CLASSES = np.random.default_rng(1).permutation(np.repeat(np.arange(4), [20, 15, 15, 10]))
ONE_MISSING = np.random.default_rng(2).permutation(np.repeat([0, 1, 3], 20))
OPTIONS = Options(batch_size=7)
NEED_GRADIENTS = [name for name in STRATEGIES if name.startswith("gradmatch")]

each = pytest.mark.parametrize("name", STRATEGIES)


def gradients(seed=0, n=N):
    rng = np.random.default_rng(seed)
    residuals = rng.normal(size=(n, CLASSES)).astype(np.float32)
    features = np.abs(rng.normal(size=(n, FEATURES))).astype(np.float32)
    return LastLayerGradients(jnp.asarray(residuals), jnp.asarray(features))


def build(name, labels=ALL_CLASSES, options=OPTIONS):
    budget = N if name == "full" else BUDGET
    return build_strategy(name, Task(labels, CLASSES, budget), options)


def by_index(selection):
    return dict(zip(selection.indices.tolist(), selection.weights.tolist(), strict=True))


def same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in leaves)


@each
@pytest.mark.parametrize("labels", [ALL_CLASSES, ONE_MISSING], ids=["all", "one missing"])
def test_conformance(name, labels):
    strategy = build(name, labels)
    snapshot = Snapshot(gradients()) if strategy.needs_gradients else None
    state = strategy.init(jax.random.key(0))
    kept = jax.tree.map(np.array, state)
    selection, after = strategy.select(state, snapshot, jax.random.key(1))

    budget = N if name == "full" else BUDGET
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    assert indices.dtype == np.int32
    assert indices.shape == weights.shape == (budget,)
    assert int(selection.size) == budget
    assert 0 <= int(selection.num_matched) <= budget
    assert len(set(indices.tolist())) == budget
    assert indices.min() >= 0
    assert indices.max() < N
    assert np.all(np.isfinite(weights))
    assert np.all(weights >= 0)
    assert weights.sum() > 0
    if name in ("gradmatch", "gradmatch-per-class"):
        shares = np.bincount(labels[indices], minlength=CLASSES)
        assert np.all(np.abs(shares - np.bincount(labels, minlength=CLASSES) * BUDGET / N) < 1)
    if strategy.needs_gradients:
        assert 0 < float(selection.matching_error) < 1
        assert int(selection.num_matched) > 0

    assert same(state, kept), "select must not change its state in place"
    assert same(strategy.init(jax.random.key(0)), kept)
    structure = jax.tree.structure(state)
    assert jax.tree.structure(after) == structure, "the state is checkpointed: one structure"
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
    again = strategy.select(state, snapshot, jax.random.key(1))
    assert same(again, (selection, after)), "the same key, the same answer"
    other = Snapshot(gradients(5)) if strategy.needs_gradients else None
    key = jax.random.key(2)
    with compile_seconds() as read:
        strategy.select(after, other, key)
    assert read() == 0.0, "a second selection must not compile"


@each
def test_keys_matter_where_there_is_chance(name):
    strategy = build(name)
    snapshot = Snapshot(gradients()) if strategy.needs_gradients else None
    found = []
    for seed in (3, 4):
        key = jax.random.key(seed)
        selection, _ = strategy.select(strategy.init(key), snapshot, key)
        found.append(set(selection.indices.tolist()))
    chance = name in ("random", "adaptive-random", "gradmatch-pb")
    assert (found[0] != found[1]) == chance


@pytest.mark.parametrize("name", NEED_GRADIENTS)
def test_validation_target(name):
    """The training set twice over is the same target once scaled; another set is another one."""
    strategy = build(name, options=OPTIONS._replace(validation_target=True))
    train, key = gradients(), jax.random.key(1)
    twice = LastLayerGradients(*(jnp.concatenate([x, x]) for x in train))
    labels = jnp.asarray(ALL_CLASSES)
    snapshot = Snapshot(train, twice, jnp.concatenate([labels, labels]))
    found, _ = strategy.select({}, snapshot, key)
    plain, _ = build(name).select({}, Snapshot(train), key)
    assert by_index(found) == pytest.approx(by_index(plain), rel=1e-3)
    other = Snapshot(train, gradients(8, 120), jnp.concatenate([labels, labels]))
    changed, _ = strategy.select({}, other, key)
    assert by_index(changed) != pytest.approx(by_index(plain), rel=1e-2)
    lost = jnp.where(labels == 2, 1, labels)
    absent, _ = strategy.select({}, Snapshot(train, twice, jnp.concatenate([lost, lost])), key)
    assert int(absent.size) == BUDGET, "a class without validation examples is filled"


def test_gradmatch_is_its_namesake():
    """per class and per gradient against per class: two problems, each solved by its own name."""
    from gradmatch_jax.matching import select_subset

    train = gradients()
    for name, approximation in [("gradmatch", "per_gradient"), ("gradmatch-per-class", "exact")]:
        found, _ = build(name).select({}, Snapshot(train), jax.random.key(1))
        expected = select_subset(
            train, BUDGET, labels=ALL_CLASSES, approximation=approximation, key=jax.random.key(1)
        )
        assert by_index(found) == pytest.approx(by_index(expected), rel=1e-4)


def test_full_is_everything_with_weight_one():
    selection, _ = build("full").select({}, None, jax.random.key(0))
    assert sorted(selection.indices.tolist()) == list(range(N))
    assert set(selection.weights.tolist()) == {1.0}


def test_random_is_uniform():
    """Each example is drawn in a share k/n of the draws: 400 draws, 4.9 standard deviations."""
    strategy = build("random")
    counts = np.zeros(N)
    for seed in range(400):
        selection, _ = strategy.select({}, None, jax.random.key(seed))
        counts[np.asarray(selection.indices)] += 1
    share, draws = BUDGET / N, 400
    spread = np.sqrt(draws * share * (1 - share))
    assert np.all(np.abs(counts - draws * share) < 4.9 * spread)


@pytest.mark.parametrize(
    ("n", "k"), [(20, 5), (20, 7), (20, 13), (20, 20), (20, 1), (1, 1), (9, 8)]
)
def test_adaptive_random_uses_all_before_it_repeats(n, k):
    labels = np.zeros(n, np.int32)
    strategy = build_strategy("adaptive-random", Task(labels, 1, k), OPTIONS)
    state, stream = strategy.init(jax.random.key(0)), []
    draws = 6 * -(-n // k)
    for i in range(draws):
        selection, state = strategy.select(state, None, jax.random.key(i))
        drawn = selection.indices.tolist()
        assert len(set(drawn)) == k, "no subset has an example twice"
        stream += drawn
    passes = [stream[i : i + n] for i in range(0, len(stream) - n + 1, n)]
    for part in passes:
        assert sorted(part) == list(range(n))
    if n > 5:
        assert len({tuple(part) for part in passes}) == len(passes), "a fresh order every pass"


def test_registry_lines():
    for name, entry in STRATEGIES.items():
        assert entry.reselect in ("once", "interval", "epoch")
        assert entry.summary
        assert entry.source
        assert not name.endswith("-warm")
