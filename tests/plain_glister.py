"""Dense NumPy GLISTER and exhaustive search, to check the solver against."""

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax


class Dense(NamedTuple):
    """A problem in float64: dense gradients (n, C(1+E)) and the validation set."""

    atoms: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    labels: np.ndarray

    def after(self, moved, eta):
        """Validation logits where theta has moved by -eta `moved`."""
        extended = np.concatenate([np.ones((len(self.labels), 1)), self.features], axis=1)
        return self.logits - eta * extended @ moved.reshape(self.logits.shape[1], -1).T

    def loss(self, subset, eta) -> float:
        """The exact validation loss after the step on `subset`."""
        log_p = log_softmax(self.after(self.atoms[list(subset)].sum(0), eta), axis=1)
        return -float(log_p[np.arange(len(self.labels)), self.labels].mean())

    def gradient(self, subset, eta):
        """G(S), laid out as the atoms are."""
        moved = self.atoms[list(subset)].sum(0)
        delta = softmax(self.after(moved, eta), axis=1) - np.eye(self.logits.shape[1])[self.labels]
        extended = np.concatenate([np.ones((len(self.labels), 1)), self.features], axis=1)
        return (delta.T @ extended / len(self.labels)).ravel()


def dense_glister(problem: Dense, budget, eta, at_once):
    """GLISTER by the book: all gains, the best `at_once`, all gains again."""
    chosen: list[int] = []
    while len(chosen) < budget:
        gains = problem.atoms @ problem.gradient(chosen, eta)
        gains[chosen] = -np.inf
        chosen += np.argsort(-gains, kind="stable")[: min(at_once, budget - len(chosen))].tolist()
    return chosen


def exhaustive(problem: Dense, budget, eta):
    """Greedy on the exact loss: every free example is tried at each pick."""
    chosen: list[int] = []
    for _ in range(budget):
        free = [e for e in range(len(problem.atoms)) if e not in chosen]
        chosen.append(min(free, key=lambda e: problem.loss([*chosen, e], eta)))
    return chosen
