"""Properties of select_subset and of the split of its budget, on what hypothesis draws.

One shape for all that is solved: each of its variants compiles once.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmatch_jax import LastLayerGradients, partition, select_subset
from toys import LONG

N, C, E, BUDGET = 24, 3, 4, 9
LABELS = np.repeat(np.arange(C), [14, 7, 3])
few = settings(derandomize=True, max_examples=6, deadline=None)
many = settings(derandomize=True, max_examples=50, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def drawn(seed):
    rng = np.random.default_rng(seed)
    residuals = rng.normal(size=(N, C)).astype(np.float32)
    return residuals, np.abs(rng.normal(size=(N, E))).astype(np.float32)


def select(residuals, features, labels, **options):
    gradients = LastLayerGradients(residuals, features)
    return select_subset(gradients, BUDGET, labels=labels, **options)


def matched(selection, rows=None):
    """Example to weight, in the numbering of `rows`."""
    size = int(selection.num_matched)
    indices = np.asarray(selection.indices)[:size]
    named = indices if rows is None else rows[indices]
    return dict(zip(named.tolist(), np.asarray(selection.weights)[:size].tolist(), strict=True))


@pytest.mark.thorough
@few
@given(seed=seeds, order=st.permutations(range(N)))
def test_the_order_of_the_examples_is_nothing(seed, order):
    residuals, features = drawn(seed)
    order = np.array(order)
    plain = select(residuals, features, LABELS, fill="none")
    found = select(residuals[order], features[order], LABELS[order], fill="none")
    assert matched(found, order) == pytest.approx(matched(plain), rel=1e-3, abs=1e-4)
    assert float(found.matching_error) == pytest.approx(float(plain.matching_error), rel=1e-3)


@pytest.mark.thorough
@LONG
@few
@given(seed=seeds, scale=st.sampled_from([1e-3, 0.2, 30.0]))
def test_the_scale_of_the_gradients_is_nothing(seed, scale):
    """With lam in their squares, named or relative to them."""
    residuals, features = drawn(seed)
    plain = select(residuals, features, LABELS, eps=0.0, fill="none")
    named = select(scale * residuals, features, LABELS, lam=0.5 * scale**2, eps=0.0, fill="none")
    assert matched(named) == pytest.approx(matched(plain), rel=1e-3, abs=1e-4)
    relative = [
        matched(select(factor * residuals, features, LABELS, lam_scale="relative", fill="none"))
        for factor in (1.0, scale)
    ]
    assert relative[1] == pytest.approx(relative[0], rel=1e-3, abs=1e-4)


@pytest.mark.thorough
@few
@given(seed=seeds, fill=st.sampled_from(["random", "calibrated", "steady", "none"]))
def test_the_budget_is_met_exactly_and_each_class_has_its_share(seed, fill):
    residuals, features = drawn(seed)
    # Two examples that all the others repeat: matching is over after these.
    residuals[2:], features[2:] = residuals[:2].repeat(11, 0), features[:2].repeat(11, 0)
    found = select(residuals, features, LABELS, fill=fill)
    size, indices = int(found.size), np.asarray(found.indices)
    assert int(found.num_matched) <= size <= BUDGET
    assert size == BUDGET or fill == "none"
    assert len(set(indices[:size].tolist())) == size
    assert np.all(indices[:size] >= 0)
    assert np.all(indices[size:] == -1)
    assert np.all(np.asarray(found.weights)[size:] == 0)
    assert np.all(np.asarray(found.weights) >= 0)
    shares = np.bincount(LABELS[indices[:size]], minlength=C)
    budgets = np.asarray(partition(LABELS, BUDGET).budgets)
    assert np.all(shares <= budgets)
    assert size < BUDGET or np.array_equal(shares, budgets)


@many
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40), budget=st.integers(0, 60))
def test_a_budget_is_split_exactly_and_in_proportion(labels, budget):
    groups = partition(labels, budget, num_classes=5)
    budgets, sizes = np.asarray(groups.budgets), np.bincount(labels, minlength=5)
    assert budgets.sum() == min(budget, len(labels))
    assert np.all(budgets <= sizes)
    ideal = sizes * min(budget, len(labels)) / len(labels)
    assert np.all(np.abs(budgets - ideal) < 1 + 1e-9), "largest remainders"
