"""CRAIG against naive greedy on each class, known clusters, and on hostile input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.selection.batches import even_batches
from gradmatch_jax.selection.coreset import (
    _select_groups,
    select_coreset,
    select_coreset_batches,
)
from gradmatch_jax.selection.distances import CPU_BLOCK, distances_of
from gradmatch_jax.selection.groups import Groups, partition
from gradmatch_jax.strategies import build_strategy
from gradmatch_jax.strategies.task import Pass, Snapshot, Task
from oracles import check_greedy, naive_facility_location, similar
from toys import LONG, mostly_long, spoiled

# Class 0 has one example, class 2 none; budgets 1, 8, 0, 6, 5.
N, C, E, BUDGET = 60, 5, 4, 20
SIZES = [1, 25, 0, 19, 15]
LABELS = np.random.default_rng(9).permutation(np.repeat(np.arange(C), SIZES))


def random_gradients(seed=0):
    rng = np.random.default_rng(seed)
    residuals, features = rng.normal(size=(N, C)), np.abs(rng.normal(size=(N, E)))
    return LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in (residuals, features)))


def dense(gradients):
    return np.asarray(gr.densify(gradients), np.float64)


def by_index(selection):
    pairs = zip(selection.indices.tolist(), selection.weights.tolist(), strict=True)
    return {i: w for i, w in pairs if i >= 0}


def check_per_class(selection, atoms, labels=LABELS, budget=BUDGET):
    """Each class solved alone, in the examples' own numbers; picks come in their order."""
    found = by_index(selection)
    for c, expected in enumerate(partition(labels, budget).budgets.tolist()):
        rows = np.flatnonzero(labels == c)
        picks = [int(np.searchsorted(rows, i)) for i in found if labels[i] == c]
        assert len(picks) == expected
        check_greedy(similar(atoms[rows]), picks, [found[int(rows[p])] for p in picks], 1e-5)


def check(selection, budget=BUDGET, size=BUDGET, total=N):
    """What holds for every selection; where every class has a budget the weights add up to n."""
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    assert indices.shape == weights.shape == (budget,)
    assert int(selection.size) == int(selection.num_matched) == size
    assert len(set(indices[:size].tolist())) == size
    assert np.all((indices[:size] >= 0) & (indices[:size] < N))
    assert np.all(indices[size:] == -1)
    assert np.all(weights[size:] == 0)
    assert weights.sum() == pytest.approx(total)
    assert np.isfinite(selection.matching_error)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_solved_together_are_classes_solved_alone(seed):
    gradients = random_gradients(seed)
    selection = select_coreset(gradients, BUDGET, labels=LABELS)
    check(selection)
    atoms = dense(gradients)
    found = by_index(selection)
    check_per_class(selection, atoms)
    error = norm = 0.0
    for c in range(C):
        target = atoms[c == LABELS].sum(axis=0)
        chosen = sum((w * atoms[i] for i, w in found.items() if LABELS[i] == c), 0 * target)
        error += np.sum((chosen - target) ** 2)
        norm += np.sum(target**2)
    assert float(selection.matching_error) == pytest.approx(np.sqrt(error / norm), rel=1e-4)
    check_per_class(select_coreset(gr.densify(gradients), BUDGET, labels=LABELS), atoms)


def planted(seed):
    """Two classes of 3 and 2 tight, far clusters in shuffled order: gradients, labels, clusters."""
    rng = np.random.default_rng(seed)
    clusters = rng.permutation(np.repeat(np.arange(5), [15, 10, 5, 13, 7]))
    labels = (clusters >= 3).astype(int)
    centres = 10 * np.eye(5) + rng.normal(size=(5, 5))
    residuals = centres[clusters] + 0.01 * rng.normal(size=(50, 5))
    features = 1 + 0.01 * rng.normal(size=(50, 4))
    return LastLayerGradients(jnp.asarray(residuals), jnp.asarray(features)), labels, clusters


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(5))
def test_planted_clusters_in_dataset_order(seed):
    """One example a cluster, weighted by the cluster's size: an index must mean its own example."""
    gradients, labels, clusters = planted(seed)
    found = by_index(select_coreset(gradients, 5, labels=labels))
    assert {int(clusters[i]): w for i, w in found.items()} == {0: 15, 1: 10, 2: 5, 3: 13, 4: 7}
    # A permuted data set gives the permuted answer.
    order = np.random.default_rng(seed + 10).permutation(50)
    moved = select_coreset(gr.take(gradients, jnp.asarray(order)), 5, labels=labels[order])
    assert {int(order[i]): w for i, w in by_index(moved).items()} == found


@pytest.mark.thorough
@LONG
def test_padding_changes_nothing():
    groups = partition(LABELS, BUDGET)
    wider = jnp.pad(groups.members, ((0, 2), (0, 5)), constant_values=-1)
    budgets = jnp.pad(groups.budgets, (0, 2))
    padded = Groups(wider, budgets, groups.group_of, groups.max_budget, groups.budget)
    found = select_coreset(random_gradients(), BUDGET, labels=padded)
    assert by_index(found) == by_index(select_coreset(random_gradients(), BUDGET, labels=LABELS))


@pytest.mark.thorough
@LONG
def test_rounds_of_groups_change_nothing(monkeypatch):
    whole = by_index(select_coreset(random_gradients(), BUDGET, labels=LABELS))
    monkeypatch.setattr("gradmatch_jax.selection.coreset._groups_at_once", lambda groups: 2)
    jax.clear_caches()
    assert by_index(select_coreset(random_gradients(), BUDGET, labels=LABELS)) == whole
    jax.clear_caches()


@pytest.mark.thorough
@LONG
def test_under_jit_and_without_recompiling():
    groups = partition(LABELS, BUDGET)
    jitted = jax.jit(lambda gradients, groups: select_coreset(gradients, BUDGET, labels=groups))
    first = jitted(random_gradients(0), groups)
    assert by_index(first) == by_index(select_coreset(random_gradients(0), BUDGET, labels=groups))
    other = partition(LABELS[::-1].copy(), BUDGET)
    with compile_seconds() as read:
        jitted(random_gradients(1), other)
        select_coreset(random_gradients(2), BUDGET, labels=other)
    assert read() == 0.0


@pytest.mark.thorough
def test_another_class_count_and_more_examples_compile_no_solver_anew():
    rng, compiled = np.random.default_rng(3), None
    for classes, n in ((4, 64), (3, 63), (2, 62)):
        labels = rng.permutation(np.arange(n) % classes)
        sides = rng.normal(size=(n, classes)), rng.normal(size=(n, 7))
        gradients = LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in sides))
        found = select_coreset(gradients, BUDGET, labels=labels)
        check_per_class(found, dense(gradients), labels)
        compiled = compiled or _select_groups._cache_size()
        assert _select_groups._cache_size() == compiled


def test_zero_gradients_and_copies():
    """The first stands for all of its like; past the last distinct one, weights are 0."""
    zero = random_gradients()._replace(residuals=jnp.zeros((N, C)))
    selection = select_coreset(zero, BUDGET, labels=LABELS)
    check(selection)
    assert float(selection.matching_error) == 0.0
    assert sorted(selection.weights.tolist())[-5:] == [0, 1, 15, 19, 25]
    first = np.array([np.flatnonzero(c == LABELS)[i % 2] for i, c in enumerate(LABELS) if c] + [0])
    copies = gr.take(random_gradients(), jnp.asarray(first))
    labels = LABELS[first]
    selection = select_coreset(copies, BUDGET, labels=labels)
    check(selection)
    assert np.sum(np.asarray(selection.weights) >= 1) >= len(set(labels.tolist()))
    assert float(selection.matching_error) < 1e-2


@pytest.mark.thorough
@LONG
def test_one_problem_beyond_n_and_budget_zero():
    gradients = random_gradients()
    atoms = dense(gradients)
    found = select_coreset(gradients, BUDGET)
    check(found)
    check_greedy(similar(atoms), found.indices, found.weights, 1e-5)
    everything = select_coreset(gradients, 80, labels=LABELS)
    check(everything, 80, N)
    assert set(by_index(everything).values()) == {1.0}
    assert float(everything.matching_error) < 1e-5
    check(select_coreset_batches(gradients, 80, 8, key=jax.random.key(0)), 80, N)
    for labels in (None, LABELS):
        nothing = select_coreset(gradients, 0, labels=labels)
        assert (int(nothing.size), float(nothing.matching_error)) == (0, 1.0)
    assert int(select_coreset_batches(gradients, 0, 8, key=jax.random.key(0)).size) == 0


@pytest.mark.thorough
@LONG
def test_float64():
    with jax.enable_x64(True):
        gradients = jax.tree.map(lambda x: x.astype(jnp.float64), random_gradients())
        selection = select_coreset(gradients, BUDGET, labels=LABELS)
        batches = select_coreset_batches(gradients, BUDGET, 7, key=jax.random.key(0))
    assert selection.weights.dtype == batches.weights.dtype == np.float64
    check_per_class(selection, dense(random_gradients()))


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [3, 4])
def test_batches_match_a_dense_reference(seed):
    """20 of 60 in batches of 7 or 6: a batch's examples share the examples it stands for."""
    gradients, key, budget = random_gradients(seed), jax.random.key(seed), 20
    selection = select_coreset_batches(gradients, budget, 7, key=key)
    batches = [[i for i in row if i >= 0] for row in even_batches(key, N, 7).tolist()]
    atoms = dense(gradients)
    means = np.stack([atoms[b].mean(axis=0) for b in batches])
    sizes = np.array([len(b) for b in batches])
    picks, _, _ = naive_facility_location(similar(means), -(-budget // 6))
    picks = picks[: 1 + np.flatnonzero(np.cumsum(sizes[picks]) >= budget)[0]]
    owner = np.argmax(similar(means)[picks], axis=0)
    stands_for = {b: sizes[owner == p].sum() for p, b in enumerate(picks)}
    found, over = by_index(selection), sizes[picks].sum() - budget
    cut = min((b for b in picks[::-1] if sizes[b] > over), key=lambda b: stands_for[b])
    for b in picks:
        members = [i for i in batches[b] if i in found]
        assert len(members) == sizes[b] - (over if b == cut else 0)
        for i in members:
            assert found[i] == pytest.approx(stands_for[b] / len(members), rel=1e-5)
    check(selection, total=N)
    total = atoms.sum(axis=0)
    expected = np.linalg.norm(sum(w * atoms[i] for i, w in found.items()) - total)
    assert float(selection.matching_error) == pytest.approx(
        expected / np.linalg.norm(total), rel=1e-4
    )
    everything = select_coreset_batches(gradients, N, 7, key=key)
    check(everything, N, N)
    np.testing.assert_allclose(everything.weights, 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: select_coreset(g, -1), "budget must be 0 or more, not -1"),
        (lambda g: select_coreset(g, 5, labels=LABELS[:9]), r"labels have shape \(9,\)"),
        (lambda g: select_coreset(g, 5, labels=partition(LABELS, 9)), "groups of a budget of 9"),
        (lambda g: select_coreset(g.features[0], 5), "arrays of n rows"),
        (lambda g: select_coreset((g.residuals, spoiled(g.features, 7, 1)), 5), "row 7"),
        (lambda g: select_coreset_batches(g, 5, 0, key=jax.random.key(0)), "batch_size must be"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(UserError, match=message) as error:
        call(random_gradients())
    assert "\n" not in str(error.value)


# --- the strategies ----------------------------------------------------------------------------


@pytest.mark.thorough
def test_strategies_read_what_they_are_named_for():
    """craig the whole gradient, facility-location the features, each class alone."""
    rng = np.random.default_rng(5)
    logits, features = rng.normal(size=(N, C)), np.abs(rng.normal(size=(N, E)))
    look = Pass(*(jnp.asarray(x, jnp.float32) for x in (logits, features)), jnp.asarray(LABELS))
    atoms = {"craig": dense(look.gradients), "facility-location": np.asarray(look.features, float)}
    for name in atoms:
        strategy = build_strategy(name, Task(LABELS, C, BUDGET))
        selection, _ = strategy.select({}, Snapshot(look), jax.random.key(0))
        if name == "facility-location":
            assert set(selection.weights.tolist()) == {1.0}
            selection = select_coreset(look.features, BUDGET, labels=LABELS)._replace(
                indices=selection.indices
            )
        check_per_class(selection, atoms[name])


@pytest.mark.thorough
@pytest.mark.parametrize(
    "n", mostly_long([CPU_BLOCK, CPU_BLOCK + 1, 2 * CPU_BLOCK + 77], CPU_BLOCK + 1)
)
def test_distances_made_in_blocks_are_the_dense_ones(n):
    rng = np.random.default_rng(n)
    residuals, features = rng.standard_normal((n, 3)), rng.random((n, 4))
    valid = np.arange(n) < n - 5
    parts = (jnp.asarray(x[None], jnp.float32) for x in (residuals, features))
    found = distances_of(LastLayerGradients(*parts), jnp.asarray(valid[None]))[0]
    wide = np.concatenate([np.ones((n, 1)), features], axis=1)
    dense = (residuals[:, :, None] * wide[:, None]).reshape(n, -1)[valid]
    squares = (dense**2).sum(axis=1)
    expected = squares[:, None] + squares[None] - 2 * dense @ dense.T
    assert found.shape == (n, n)
    np.testing.assert_allclose(found[: n - 5, : n - 5], expected, atol=1e-4 * expected.max())
