"""Plain OMP in NumPy and SciPy, a problem at a time, and the small problem it is tried on."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gradmatch_jax import gradients as gr
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.subset import select_subset

# One shape for most tests, because each costs seconds to compile, and the signed form where the
# sign of the weights is not what is tested, because it compiles in half the time. Class 0 has one
# example, class 2 none; budgets 1, 8, 0, 6, 5.
N, C, E, BUDGET = 60, 5, 4, 20
SIZES = [1, 25, 0, 19, 15]
LABELS = np.random.default_rng(9).permutation(np.repeat(np.arange(C), SIZES))
SIGNED = {"nonnegative": False}
LAM = 0.5


def random_gradients(seed=0):
    rng = np.random.default_rng(seed)
    residuals = rng.normal(size=(N, C)).astype(np.float32)
    features = np.abs(rng.normal(size=(N, E))).astype(np.float32)
    return LastLayerGradients(jnp.asarray(residuals), jnp.asarray(features))


def dense(gradients):
    return np.asarray(gr.densify(gradients), np.float64)


def select(gradients=None, budget=BUDGET, labels=LABELS, **options):
    gradients = random_gradients() if gradients is None else gradients
    return select_subset(gradients, budget, labels=labels, **options)


def by_index(selection):
    pairs = zip(selection.indices.tolist(), selection.weights.tolist(), strict=True)
    return {i: w for i, w in pairs if i >= 0}


def assert_same(found, expected, rtol=2e-4):
    """The same examples with the same weights, whatever their order."""
    found, expected = (x if isinstance(x, dict) else by_index(x) for x in (found, expected))
    assert sorted(found) == sorted(expected)
    for i, weight in expected.items():
        assert found[i] == pytest.approx(weight, rel=rtol, abs=1e-5)


def solve(gram, correlations, lam, nonnegative):
    system = gram + lam * np.eye(len(gram))
    if not nonnegative:
        return np.linalg.solve(system, correlations)
    factor = np.linalg.cholesky(system)
    return scipy.optimize.nnls(factor.T, np.linalg.solve(factor, correlations))[0]


def plain_omp(atoms, target, budget, lam=LAM, nonnegative=True):
    """Algorithm 2 as listed: a dictionary from atom to weight, every step solved afresh."""
    gram, correlations = atoms @ atoms.T, atoms @ target
    support, weights = [], np.zeros(0)
    for _ in range(4 * budget):
        if len(support) == budget:
            break
        score = correlations - gram[:, support] @ weights
        score = score if nonnegative else np.abs(score)
        score[support] = -np.inf
        if score.max() <= 1e-5 * np.abs(correlations).max():
            break
        support.append(int(np.argmax(score)))
        weights = solve(gram[np.ix_(support, support)], correlations[support], lam, nonnegative)
        if nonnegative:
            support = [i for i, w in zip(support, weights, strict=True) if w > 0]
            weights = weights[weights > 0]
    return dict(zip(support, weights.tolist(), strict=True))


def plain_per_class(atoms, targets=None, **options):
    """Each class solved alone and the answers joined."""
    joined = {}
    budgets = partition(LABELS, BUDGET).budgets.tolist()
    for c, budget in enumerate(budgets):
        rows = np.flatnonzero(c == LABELS)
        target = atoms[rows].sum(axis=0) if targets is None else targets[c]
        alone = plain_omp(atoms[rows], target, budget, **options)
        joined |= {int(rows[i]): w for i, w in alone.items()}
    return joined


def check(selection, budget=BUDGET, n=N):
    """What holds for every selection."""
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    size, matched = int(selection.size), int(selection.num_matched)
    assert indices.shape == weights.shape == (budget,)
    assert 0 <= matched <= size <= min(budget, n)
    assert np.all(indices[:size] >= 0), "real entries come first"
    assert np.all(indices[:size] < n)
    assert len(set(indices[:size].tolist())) == size
    assert np.all(indices[size:] == -1)
    assert np.all(weights[size:] == 0)
    assert np.all(np.isfinite(weights))
    assert np.isfinite(selection.matching_error)
