"""Dense NumPy references for the solvers, and real gradients to try them on."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls


class Problem(NamedTuple):
    """A matching problem in float64."""

    atoms: np.ndarray
    target: np.ndarray
    lam: float

    @property
    def gram(self) -> np.ndarray:
        return self.atoms @ self.atoms.T

    @property
    def correlations(self) -> np.ndarray:
        return self.atoms @ self.target

    def objective(self, support, weights) -> float:
        """E_lam, computed in the space of the atoms."""
        weights = np.asarray(weights, np.float64)
        residual = self.atoms[np.asarray(support)].T @ weights - self.target
        return float(residual @ residual + self.lam * weights @ weights)


def nonnegative_least_squares(atoms, target, lam):
    """SciPy's NNLS on the ridge-augmented system."""
    k = len(atoms)
    system = np.vstack([atoms.T, np.sqrt(lam) * np.eye(k)])
    return nnls(system, np.concatenate([target, np.zeros(k)]), maxiter=100 * max(k, 1))[0]


def nonnegative_omp(problem: Problem, budget: int):
    """Dense non-negative OMP: pick by correlation, solve with NNLS, drop what gets no weight."""
    atoms, target, lam = problem
    gram, correlations = problem.gram, problem.correlations
    support, weights, residual = [], np.zeros(0), correlations.copy()
    for _ in range(4 * budget):  # an atom may leave and come back
        score = residual.copy()
        score[support] = -np.inf
        pick = int(np.argmax(score))
        if len(support) >= budget or score[pick] <= 1e-9 * np.abs(correlations).max():
            break
        support.append(pick)
        weights = nonnegative_least_squares(atoms[support], target, lam)
        support = [j for j, w in zip(support, weights, strict=True) if w > 0]
        weights = weights[weights > 0]
        residual = correlations - gram[:, support] @ weights
    return np.array(support, int), weights


def random_problem(seed: int, n: int, d: int, lam: float, kind: str = "sum") -> Problem:
    """Gaussian atoms; the target is their sum, a positive mixture of them, or independent."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(n, d)) + 0.3 * rng.normal(size=d)
    target = {
        "sum": lambda: atoms.sum(0),
        "mixture": lambda: rng.uniform(size=n) @ atoms,
        "independent": lambda: 5 * rng.normal(size=d),
    }[kind]()
    return Problem(atoms, target, lam)


def digits_gradients(label: int, steps: int, lam: float = 0.5) -> Problem:
    """Last-layer gradients of one class of digits, softmax regression after `steps` steps."""
    from gradmatch_jax.data.digits import read_digits

    split = read_digits().train
    x = split.inputs.reshape(len(split), -1) / 255.0
    return softmax_gradients(x, np.asarray(split.labels), label, steps, lam)


def softmax_gradients(x, y, label, steps, lam) -> Problem:
    """Dense last-layer gradients of one class, softmax regression trained by gradient descent."""
    x1 = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    onehot = np.eye(10)[y]
    weights = np.zeros((x1.shape[1], 10))
    for _ in range(steps):
        weights -= 0.1 * x1.T @ (_softmax(x1 @ weights) - onehot) / len(x)
    rows = y == label
    delta = (_softmax(x1 @ weights) - onehot)[rows]
    atoms = (delta[:, :, None] * x1[rows][:, None, :]).reshape(rows.sum(), -1)
    return Problem(atoms, atoms.sum(0), lam)


def distances(atoms):
    """d_ij = ‖a_i - a_j‖ by its definition."""
    return np.linalg.norm(atoms[:, None] - atoms[None], axis=2)


def similar(atoms):
    """CRAIG's similarities, max d - d_ij."""
    d = distances(atoms)
    return d.max(initial=0.0) - d


def naive_facility_location(similarities, budget):
    """Greedy facility location, every gain afresh at every pick: picks, cluster sizes, F."""
    nearest, picks = np.zeros(len(similarities)), []
    for _ in range(min(budget, len(similarities))):
        gains = np.maximum(similarities - nearest, 0).sum(axis=1)
        gains[picks] = -np.inf
        picks.append(int(np.argmax(gains)))
        nearest = np.maximum(nearest, similarities[picks[-1]])
    owner = np.argmax(similarities[picks], axis=0) if picks else np.zeros(0, int)
    return picks, np.bincount(owner, minlength=len(picks)), nearest.sum()


def check_greedy(similarities, picks, sizes, tolerance):
    """No pick is worse than the best one at its place by more than rounding; the clusters are its.

    Greedy picks tie everyday: of two examples nearest to each other both gain the same.
    """
    scale = tolerance * similarities.max(initial=0.0)
    nearest, free = np.zeros(len(similarities)), np.ones(len(similarities), bool)
    for pick in picks:
        gains = np.maximum(similarities - nearest, 0).sum(axis=1)
        assert free[pick]
        assert gains[pick] >= gains[free].max() - scale
        free[pick] = False
        nearest = np.maximum(nearest, similarities[pick])
    owner = np.argmax(similarities[picks], axis=0) if len(picks) else np.zeros(0, int)
    assert np.bincount(owner, minlength=len(picks)).tolist() == list(sizes)


def _softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
