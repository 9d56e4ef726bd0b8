"""Exact budgets, groups, fill and compaction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.selection.groups import largest_remainder, partition, single_group
from gradmatch_jax.selection.ranking import draw, fill_slots, rank_by_score
from gradmatch_jax.selection.result import compact, unweighted


@pytest.mark.parametrize("seed", range(40))
def test_largest_remainder_properties(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 10 ** rng.integers(1, 6), size=rng.integers(1, 30))
    n = int(counts.sum())
    for budget in {0, 1, n // 20, n // 3, max(n - 1, 0), n, n + 7}:
        given = largest_remainder(counts, budget)
        assert given.sum() == min(budget, n)
        assert np.all(given <= counts)
        assert np.all(given >= 0)
        if n:
            assert np.all(np.abs(given - counts * min(budget, n) / n) < 1)


def test_largest_remainder_gives_the_largest_remainders_more():
    # Quotas 2.8, 1.6, 0.6: the two left over go to .8 and the first .6.
    assert largest_remainder(np.array([14, 8, 3]), 5).tolist() == [3, 2, 0]
    assert largest_remainder(np.array([2**40, 2**40]), 7).tolist() == [4, 3]
    assert largest_remainder(np.array([0, 0]), 3).tolist() == [0, 0]


def test_partition_is_the_classes():
    labels = np.array([2, 0, 0, 4, 2, 0, 2, 2])  # 1 and 3 absent, 4 has one example
    groups = partition(labels, 4, num_classes=6)
    assert groups.members.shape == (6, 4)
    for c in range(6):
        members = np.asarray(groups.members[c])
        assert members[members >= 0].tolist() == np.flatnonzero(labels == c).tolist()
        assert np.all(members[: np.sum(labels == c)] >= 0), "padding comes last"
    assert int(groups.budgets.sum()) == 4
    assert groups.budgets.tolist()[1::2] == [0, 0, 0]
    assert groups.max_budget == max(groups.budgets.tolist())


def test_partition_of_one_example_and_of_none():
    one = partition(np.array([3]), 5)
    assert one.members.tolist() == [[-1], [-1], [-1], [0]]
    assert one.budgets.tolist() == [0, 0, 0, 1]
    none = partition(np.zeros(0, np.int32), 5)
    assert none.max_budget == 0
    assert int(none.budgets.sum()) == 0


def test_single_group_holds_all_and_never_more_than_n():
    groups = single_group(5, 9)
    assert groups.members.tolist() == [[0, 1, 2, 3, 4]]
    assert (groups.budgets.tolist(), groups.max_budget) == ([5], 5)


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        (np.array([0, 1, 7, 9]), 5, r"2 labels lie outside 0\.\.4"),
        (np.array([0, -1]), None, r"1 labels lie outside"),
        (np.array([-2, -1]), None, r"2 labels lie below 0 \(from -2\)"),
        (np.array([0.0, 1.0]), None, r"labels must be integers"),
        (np.zeros((2, 1), int), None, r"labels must be integers \(n,\)"),
    ],
)
def test_bad_labels(labels, num_classes, message):
    with pytest.raises(UserError, match=message) as error:
        partition(labels, 2, num_classes)
    assert "\n" not in str(error.value)


def test_traced_labels_say_what_to_do():
    with pytest.raises(UserError, match="outside jit with partition"):
        jax.jit(lambda labels: partition(labels, 2).members)(jnp.asarray([0, 1]))


def test_rank_by_score():
    scores = jnp.asarray([[0.3, 0.9, 0.5, 0.7], [1.0, 2.0, 3.0, 4.0]])
    free = jnp.asarray([[True, False, True, True], [False, True, False, False]])
    assert rank_by_score(scores, free, 3).tolist() == [[3, 2, 0], [1, -1, -1]]


def test_fill_slots_by_hand():
    positions = jnp.asarray([[2, 0, -1, -1], [-1, -1, -1, -1], [1, -1, -1, -1]], jnp.int32)
    weights = jnp.asarray([[0.3, -0.1, 0, 0], [0, 0, 0, 0], [5.0, 0, 0, 0]])
    valid = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2, [True] * 5])
    budgets = jnp.asarray([4, 2, 1], jnp.int32)
    scores = jnp.tile(jnp.asarray([[0.1, 0.2, 0.3, 0.9, 0.4]]), (3, 1))
    found, filled = fill_slots(positions, weights, valid, budgets, scores)
    assert found.tolist() == [[2, 0, 3, 4], [2, 1, -1, -1], [1, -1, -1, -1]]
    # Mean |weight| of the matched; m/k where none was matched; nothing where the budget is met.
    np.testing.assert_allclose(filled, [[0.3, -0.1, 0.2, 0.2], [1.5, 1.5, 0, 0], [5, 0, 0, 0]])
    # Never more than an example counts in the sum over all data.
    _, filled = fill_slots(positions, 10 * weights, valid, budgets, scores)
    np.testing.assert_allclose(filled[0], [3, -1, 1, 1])


@pytest.mark.parametrize("seed", range(5))
def test_fill_slots_meets_the_budget_without_duplicates(seed):
    rng = np.random.default_rng(seed)
    g, m, k = 6, 11, 7
    sizes = rng.integers(0, m + 1, g)
    sizes[0] = k  # the whole group is wanted
    valid = np.arange(m) < sizes[:, None]
    budgets = np.minimum(rng.integers(0, k + 1, g), sizes)
    budgets[0] = k
    positions = np.full((g, k), -1)
    weights = np.zeros((g, k), np.float32)
    for i in range(g):
        matched = rng.integers(0, budgets[i] + 1)
        positions[i, :matched] = rng.permutation(sizes[i])[:matched]
        weights[i, :matched] = rng.uniform(1, 2, matched)
    positions, budgets = positions.astype(np.int32), budgets.astype(np.int32)
    arrays = (jnp.asarray(x) for x in (positions, weights, valid, budgets))
    scores = jnp.asarray(rng.uniform(size=(g, m)), jnp.float32)
    found, filled = (np.asarray(x) for x in fill_slots(*arrays, scores))
    for i in range(g):
        chosen = found[i][found[i] >= 0]
        assert len(chosen) == len(set(chosen.tolist())) == budgets[i]
        assert np.all(chosen < sizes[i])
        matched = positions[i] >= 0
        assert np.array_equal(found[i][matched], positions[i][matched])
        assert np.array_equal(filled[i][matched], weights[i][matched])
        assert np.all(filled[i][found[i] < 0] == 0)
        assert np.all(filled[i][found[i] >= 0] > 0)


def test_compact():
    indices = jnp.asarray([[4, -1, 7], [-1, 2, -1]])
    weights = jnp.asarray([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    for budget, expected in [(2, [4, 7]), (3, [4, 7, 2]), (8, [4, 7, 2, -1, -1, -1, -1, -1])]:
        i, w = compact(indices, weights, budget)
        assert i.tolist() == expected
        by_index = {4: 1.0, 7: 2.0, 2: 3.0, -1: 0.0}
        assert w.tolist() == [by_index[j] for j in expected]


def test_draw_and_unweighted():
    drawn = draw(jax.random.key(0), 10, 4)
    assert len(set(drawn.tolist())) == 4
    assert all(0 <= i < 10 for i in drawn.tolist())
    selection = unweighted(jnp.asarray([5, 2, -1]))
    assert selection.weights.tolist() == [1, 1, 0]
    assert (int(selection.size), int(selection.num_matched)) == (2, 2)
    assert np.isnan(selection.matching_error)
