"""Small lam and the gradient of other examples: what is matched far from zero, against SciPy."""

import jax
import numpy as np
import pytest
from scipy.special import softmax

from gradmatch_jax import (
    LastLayerGradients,
    describe_stops,
    last_layer_gradients,
    load_dataset,
    select_subset,
)
from oracles import Problem, nonnegative_least_squares, nonnegative_omp

CLASSES, EACH = 10, 5


@pytest.fixture(scope="module")
def digits():
    """Per-gradient atoms of digits with pixels of 0 to 255, by class, and the test set's sums."""
    found = load_dataset("digits")
    (x, y), (x_test, y_test) = (
        (np.reshape(part.inputs, (len(part), -1)).astype(np.float64), np.asarray(part.labels))
        for part in (found.train, found.test)
    )
    step, weights = 2 / len(x), np.zeros((x.shape[1], CLASSES))
    for _ in range(150):
        slope = softmax(x / 255 @ weights, axis=1) - np.eye(CLASSES)[y]
        weights -= step * (x / 255).T @ slope

    def atoms(x, y):
        own = softmax(x / 255 @ weights, axis=1)[np.arange(len(y)), y] - 1
        return own[:, None] * np.concatenate([np.ones((len(x), 1)), x], axis=1)

    ours, theirs = atoms(x, y), atoms(x_test, y_test)
    targets = np.stack([theirs[y_test == c].sum(0) for c in range(CLASSES)])
    gradients = last_layer_gradients(
        (x / 255 @ weights).astype(np.float32), x.astype(np.float32), y.astype(np.int32)
    )
    return gradients, ours, y, targets


def objectives(digits, selection, lam):
    """E_lam of each class's answer, and of the dense non-negative OMP of its budget."""
    _, atoms, labels, targets = digits
    indices = np.asarray(selection.indices)
    weights = np.asarray(selection.weights, np.float64)[indices >= 0]
    indices = indices[indices >= 0]
    for c, target in enumerate(targets):
        mine = labels[indices] == c
        rows = atoms[labels == c]
        share = lam * np.mean(np.sum(rows**2, axis=1))
        support, expected = nonnegative_omp(Problem(rows, target, share), EACH)[:2]
        found = np.searchsorted(np.flatnonzero(labels == c), indices[mine])
        yield tuple(
            np.sum((w @ rows[s] - target) ** 2) + share * np.sum(w**2)
            for s, w in ((found, weights[mine]), (support, expected))
        )


@pytest.mark.parametrize(
    ("form", "lam", "of"),
    [("auto", 1e-5, "test"), ("auto", 1e-6, "test"), ("auto", 1e-4, "test"),
     ("features", 1e-4, "test"), ("features", 1e-6, "train")],
)  # fmt: skip
@pytest.mark.thorough
def test_the_oracles_objective(digits, form, lam, of):
    """In the feature form w = a . r / lam: an eps of r is a good part of w, or of its sign."""
    gradients, atoms, labels, targets = digits
    if of == "train":
        targets = np.stack([atoms[labels == c].sum(0) for c in range(CLASSES)])
    selection = select_subset(
        gradients, CLASSES * EACH, labels=labels, approximation="per_gradient", fill="none",
        target=targets[:, None, :].astype(np.float32), lam=lam, lam_scale="relative", form=form,
    )  # fmt: skip
    for found, expected in objectives((gradients, atoms, labels, targets), selection, lam):
        assert found <= 1.01 * expected
    met = describe_stops(selection)["stops"].get("the budget is met", 0)
    assert int(selection.num_matched) >= EACH * met, "a class met its budget or says it did not"


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["auto", "features"])
def test_few_members_of_few_numbers(form):
    """There are more slots than an atom has numbers, and fewer picks."""
    rng = np.random.default_rng(2)
    atoms, labels = rng.normal(size=(100, 12)).astype(np.float32), np.arange(100) % 10
    lam = 1e-6
    found = select_subset(atoms, 50, labels=labels, lam=lam, form=form, fill="none")
    indices, weights = found.numpy()
    for c in range(10):
        rows = atoms[labels == c].astype(np.float64)
        mine = labels[indices] == c
        chosen = atoms[indices[mine]].astype(np.float64)
        refitted = nonnegative_least_squares(chosen, rows.sum(0), lam)
        ours, best = (
            np.sum((w @ chosen - rows.sum(0)) ** 2) + lam * np.sum(w**2)
            for w in (weights[mine], refitted)
        )
        assert ours <= 1.01 * best


@pytest.mark.parametrize("share", [1e-4, 1e-5])
def test_long_atoms_that_are_hard_to_tell_apart(share):
    """Exact gradients of features that fall off as 1, 1/8, 1/27, ..: the Gram form's own weights.

    float32 does not hold the support's system: solved afresh, it would take atoms out again.
    """
    rng, n, width, budget = np.random.default_rng(1), 300, 40, 180
    residuals = rng.dirichlet(np.full(CLASSES, 0.3), size=n) - np.eye(CLASSES)[0]
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    features = np.abs(rng.normal(size=(n, width)) / np.arange(1, width + 1) ** 3 @ turn) * 8
    gradients = LastLayerGradients(residuals.astype(np.float32), features.astype(np.float32))
    left, right = (np.asarray(x, np.float64) for x in gradients)
    atoms = left[:, :, None] * np.c_[np.ones(n), right][:, None, :]
    atoms = atoms.reshape(n, -1)
    target, lam = atoms.sum(axis=0), share * np.mean(np.sum(atoms**2, axis=1))
    found = select_subset(gradients, budget, lam=lam, form="gram", fill="none")
    indices, weights = found.numpy()
    assert len(indices) == budget

    def objective(w):
        return np.sum((w @ atoms[indices] - target) ** 2) + lam * w @ w

    best = nonnegative_least_squares(atoms[indices], target, lam)
    assert objective(weights.astype(np.float64)) < 1.0005 * objective(best)


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_in_a_jit_too(scale):
    """Nobody knows there how small a lam is: 1e-8 of the mean square is what features lose."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(150, 40)) * np.exp(-np.arange(40) / 8)
    mean = np.mean(np.sum(rows**2, axis=1))
    problem = Problem(rows, rows.sum(axis=0), 1e-8 * mean)
    lam = {"absolute": float(problem.lam), "relative": 1e-8}[scale]

    @jax.jit
    def chosen(atoms):
        return select_subset(atoms, 36, lam=lam, lam_scale=scale, fill="none")

    indices, weights = chosen(rows.astype(np.float32)).numpy()
    best = problem.objective(*nonnegative_omp(problem, 36)[:2])
    assert problem.objective(indices, weights.astype(np.float64)) <= 1.001 * best
