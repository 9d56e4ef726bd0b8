"""Every registered strategy through one conformance test, and what is special to some."""

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.balanced import WIDTH
from gradmatch_jax.strategies.regime import PRUNING, Regime, Reselect
from gradmatch_jax.strategies.registry import keywords
from gradmatch_jax.strategies.strategy import Pass, Seen, Snapshot, Task
from gradmatch_jax.training.config import TrainConfig
from toys import mostly_long

N, CLASSES, FEATURES, BUDGET = 60, 4, 5, 12
# Both have a largest class of 20 and a largest budget of 4: one compilation serves both.
ALL_CLASSES = np.random.default_rng(1).permutation(np.repeat(np.arange(4), [20, 15, 15, 10]))
ONE_MISSING = np.random.default_rng(2).permutation(np.repeat([0, 1, 3], 20))
SETTINGS = {"batch_size": 7}
# What the registry does not say of a strategy; a new one stands in none of these.
MATCHING = ["gradmatch", "gradmatch-fresh", "gradmatch-per-class", "gradmatch-pb"]
PER_CLASS = {"gradmatch", "gradmatch-fresh", "gradmatch-per-class", "craig", "facility-location"}
# Forgetting events are small integers: ties at the budget's edge are drawn.
CHANCE = {"random", "adaptive-random", "rs2", "gradmatch-pb", "craig-pb", "forgetting", "infobatch"}
CHANCE |= {"tempered", "balanced", "order-dp"}

each = pytest.mark.parametrize("name", STRATEGIES)


def look(seed=0, labels=ALL_CLASSES):
    """A pass over made-up data: logits that know a little of the labels, features >= 0."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), CLASSES)) + np.eye(CLASSES)[labels]
    features = np.abs(rng.normal(size=(len(labels), FEATURES)))
    to = [jnp.asarray(x, jnp.float32) for x in (logits, features)]
    return Pass(*to, jnp.asarray(labels, jnp.int32))


def snapshot(seed=0, labels=ALL_CLASSES):
    """All that a strategy can ask for."""
    norms = np.random.default_rng(seed + 50).gamma(2.0, size=len(labels)).astype(np.float32)
    validation = look(seed + 100, np.resize(labels, 30))
    return Snapshot(look(seed, labels), validation, jnp.asarray(norms))


def epoch_seen(seed=0, n=N):
    """An epoch over all examples with made-up losses; after two, a third was never right."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(n).astype(np.int32)
    losses = rng.gamma(1.0, size=n).astype(np.float32)
    norms = np.minimum(losses, np.float32(np.sqrt(2)))
    sketches = np.random.default_rng(seed).normal(size=(len(order), WIDTH)).astype(np.float32)
    recorded = {"losses": losses, "correct": losses < 0.5, "residual_norms": norms}
    return Seen(order, recorded | {"sketches": sketches})


def build(name, labels=ALL_CLASSES, num_classes=CLASSES, **settings):
    return build_strategy(name, Task(labels, num_classes, budget(name)), SETTINGS | settings)


def budget(name):
    """Those that train on everything are asked for everything."""
    return BUDGET if STRATEGIES[name].regime.warms else N


def started(strategy, seed=0):
    """A state that has seen two epochs, as after a warm start."""
    state = strategy.init(jax.random.key(seed))
    return strategy.observe(strategy.observe(state, epoch_seen(1)), epoch_seen(2))


def by_index(selection):
    return dict(zip(selection.indices.tolist(), selection.weights.tolist(), strict=True))


def same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in leaves)


def check_selection(name, selection, labels):
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    size = int(selection.size)
    assert indices.dtype == np.int32
    assert indices.shape == weights.shape == (budget(name),)
    assert 0 <= int(selection.num_matched) <= size
    if STRATEGIES[name].regime == PRUNING:
        assert 0 < size <= N
    else:
        assert size == budget(name)
    assert np.all(indices[size:] == -1)
    assert np.all(weights[size:] == 0)
    indices, weights = indices[:size], weights[:size]
    assert len(set(indices.tolist())) == size
    assert indices.min() >= 0
    assert indices.max() < N
    assert np.all(np.isfinite(weights))
    assert np.all(weights >= 0)
    assert weights.sum() > 0
    if name in PER_CLASS:
        shares = np.bincount(labels[indices], minlength=CLASSES)
        assert np.all(np.abs(shares - np.bincount(labels, minlength=CLASSES) * BUDGET / N) < 1)
    if name in MATCHING:
        assert 0 < float(selection.matching_error) < 1
        assert int(selection.num_matched) > 0


@each
@pytest.mark.parametrize("labels", [ALL_CLASSES, ONE_MISSING], ids=["all", "one missing"])
def test_conformance(name, labels):
    strategy = build(name, labels)
    seen = snapshot(labels=labels)
    state = started(strategy)
    kept = jax.tree.map(np.array, state)
    selection, after = strategy.select(state, seen, jax.random.key(1))
    check_selection(name, selection, labels)

    assert same(state, kept), "select must not change its state in place"
    assert same(started(strategy), kept)
    structure = jax.tree.structure(strategy.init(jax.random.key(0)))
    for later in (state, after):
        assert jax.tree.structure(later) == structure, "the state is checkpointed: one structure"
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
    assert not any(getattr(x, "weak_type", False) for x in jax.tree.leaves(after)), (
        "a state of Python's number types compiles once more after a resume"
    )
    again = strategy.select(state, seen, jax.random.key(1))
    assert same(again, (selection, after)), "the same key, the same answer"
    other, epoch = snapshot(5, labels), epoch_seen(3)
    key = jax.random.key(2)
    with compile_seconds() as read:
        second, _ = strategy.select(strategy.observe(after, epoch), other, key)
    assert read() == 0.0, "a second selection must not compile"
    check_selection(name, second, labels)


@pytest.mark.thorough
@pytest.mark.parametrize("name", mostly_long(STRATEGIES, "gradmatch", "craig"))
def test_padding_changes_nothing(name):
    """One class more that nobody has: another row of padding, a column of logits at -inf."""
    pad = ((0, 0), (0, 1))

    def wider(part):
        return part._replace(logits=jnp.pad(part.logits, pad, constant_values=-1e9))

    seen, key = snapshot(), jax.random.key(1)
    padded = seen._replace(train=wider(seen.train), validation=wider(seen.validation))
    narrow, wide = build(name), build(name, num_classes=CLASSES + 1)
    plain, _ = narrow.select(started(narrow), seen, key)
    found, _ = wide.select(started(wide), padded, key)
    assert by_index(found) == pytest.approx(by_index(plain), rel=1e-4)


@each
def test_only_what_it_needs(name):
    strategy, seen = build(name), snapshot()
    needed = seen._replace(**{f: None for f in seen._fields if f not in strategy.needs})
    state, key = started(strategy), jax.random.key(1)
    assert same(strategy.select(state, needed, key), strategy.select(state, seen, key))


@each
def test_keys_matter_where_there_is_chance(name):
    strategy, seen = build(name), snapshot()
    found = []
    for seed in (3, 4):
        key = jax.random.key(seed)
        selection, _ = strategy.select(started(strategy, seed), seen, key)
        found.append(set(selection.indices.tolist()))
    assert (found[0] != found[1]) == (name in CHANCE)


@pytest.mark.thorough
@pytest.mark.parametrize("name", mostly_long(MATCHING, "gradmatch", "gradmatch-pb"))
def test_validation_target(name):
    """The training set twice over is the same target once scaled; another set is another one."""
    strategy = build(name, validation_target=True)
    train, key = look(), jax.random.key(1)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), train)
    found, _ = strategy.select({}, Snapshot(train, twice), key)
    plain, _ = build(name).select({}, Snapshot(train), key)
    assert by_index(found) == pytest.approx(by_index(plain), rel=1e-3)
    other = look(8, np.concatenate([ALL_CLASSES, ALL_CLASSES]))
    changed, _ = strategy.select({}, Snapshot(train, other), key)
    assert by_index(changed) != pytest.approx(by_index(plain), rel=1e-2)
    lost = twice._replace(labels=jnp.where(twice.labels == 2, 1, twice.labels))
    absent, _ = strategy.select({}, Snapshot(train, lost), key)
    assert int(absent.size) == BUDGET, "a class without validation examples is filled"


def test_gradmatch_is_its_namesake():
    """per class and per gradient against per class: two problems, each solved by its own name."""
    from gradmatch_jax.selection.subset import select_subset

    train = look()
    for name, approximation in [("gradmatch", "per_gradient"), ("gradmatch-per-class", "exact")]:
        found, _ = build(name).select({}, Snapshot(train), jax.random.key(1))
        expected = select_subset(
            train.gradients, BUDGET, labels=ALL_CLASSES, approximation=approximation,
            key=jax.random.key(1),
        )  # fmt: skip
        assert by_index(found) == pytest.approx(by_index(expected), rel=1e-4)


def test_full_is_everything_with_weight_one():
    selection, _ = build("full").select({}, Snapshot(), jax.random.key(0))
    assert sorted(selection.indices.tolist()) == list(range(N))
    assert set(selection.weights.tolist()) == {1.0}


def test_random_is_uniform():
    """Each example is drawn in a share k/n of the draws: 400 draws, 4.9 standard deviations."""
    strategy = build("random")
    counts = np.zeros(N)
    for seed in range(400):
        selection, _ = strategy.select({}, Snapshot(), jax.random.key(seed))
        counts[np.asarray(selection.indices)] += 1
    share, draws = BUDGET / N, 400
    spread = np.sqrt(draws * share * (1 - share))
    assert np.all(np.abs(counts - draws * share) < 4.9 * spread)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("n", "k"), [(20, 5), (20, 7), (20, 13), (20, 20), (20, 1), (1, 1), (9, 8)]
)
def test_adaptive_random_uses_all_before_it_repeats(n, k):
    labels = np.zeros(n, np.int32)
    strategy = build_strategy("adaptive-random", Task(labels, 1, k))
    state, stream = strategy.init(jax.random.key(0)), []
    draws = 6 * -(-n // k)
    for i in range(draws):
        selection, state = strategy.select(state, Snapshot(), jax.random.key(i))
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
        assert entry.reselect in get_args(Reselect)
        assert isinstance(entry.regime, Regime)
        assert entry.summary
        assert entry.source
        assert not name.endswith("-warm")
        assert entry.reads == bool(build(name).needs), f"{name}: reads says whether a pool applies"


@each
def test_every_keyword_is_a_setting(name):
    """The registry passes settings by name: a keyword that none has would never be set."""
    settings = {field.name for field in dataclasses.fields(TrainConfig)}
    assert keywords(STRATEGIES[name]) - {"options"} <= settings


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gradmatch", {"options": MatchingOptions(lam=50.0)}),
        ("gradmatch-per-class", {"options": MatchingOptions(lam=50.0)}),
        ("gradmatch-pb", {"options": MatchingOptions(lam_scale="relative")}),
        ("gradmatch-pb", {"batch_size": 3}),
        ("craig-pb", {"batch_size": 3}),
        ("glister", {"lr": 10.0}),
        ("glister", {"refresh": 1.0}),
        ("glister", {"greedy": "naive", "refresh": 1.0, "lr": 10.0}),
        ("infobatch", {"ratio": 0.9}),
        ("tempered", {"temperature": 0.0}),
        ("tempered", {"exponent": 0.0}),
        ("tempered", {"uniform": 1.0}),
        ("tempered", {"floor": 5.0}),
        ("tempered", {"fitted": True}),
        ("order-dp", {"spread": 5.0}),
    ],
)
def test_settings_reach_the_strategy(name, settings):
    """Another value, another selection: what the registry passes is what is used."""
    seen, key = snapshot(), jax.random.key(1)
    if name == "glister":  # one step that passes the minimum: later picks depend on it
        seen = seen._replace(train=seen.train._replace(features=seen.train.features * 3))
    found = []
    for given in ({}, settings):
        strategy = build(name, **given)
        selection, _ = strategy.select(started(strategy), seen, key)
        found.append(by_index(selection))
    assert found[0] != pytest.approx(found[1], rel=1e-3)
