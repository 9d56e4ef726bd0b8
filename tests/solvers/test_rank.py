"""lam = 0: as many atoms as the problem has dimensions, however they lie, and no near copy lost."""

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import omp, select_subset
from plain_omp import plain_omp

N, BUDGET = 60, 55


def atoms_of_rank(rank: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """60 atoms in as many dimensions, every other time of lengths that fall to a twentieth."""
    rng = np.random.default_rng(seed)
    lengths = np.geomspace(1, 0.05, rank) if seed % 2 else np.ones(rank)
    atoms = rng.normal(size=(N, rank)) * lengths
    turned = atoms @ np.linalg.qr(rng.normal(size=(N, rank)))[0].T
    target = turned.sum(axis=0) + turned.T @ rng.normal(size=N)
    return turned.astype(np.float32), target.astype(np.float32)


@pytest.mark.parametrize("rank", [2, 4, 8, 16, 25, 50])
def test_the_rank_is_met_and_not_passed(rank):
    """Small pivots pass their rounding on: held against 8 eps of the diagonal alone, one problem of
    thirteen went past it."""
    for seed in range(8):
        atoms, target = atoms_of_rank(rank, seed)
        known = jnp.asarray(atoms @ atoms.T), atoms @ target, float(target @ target), BUDGET
        by_gram = omp(*known, lam=0.0)
        signed = omp(*known, lam=0.0, nonnegative=False)
        by_atoms = select_subset(
            atoms, BUDGET, target=target, lam=0.0, nonnegative=False, fill="none"
        )
        assert rank // 4 <= int(by_gram.size) <= rank
        assert int(signed.size) == int(by_atoms.size) == rank
        assert np.linalg.matrix_rank(atoms[np.asarray(signed.indices[:rank])]) == rank
        assert float(by_atoms.matching_error) < 1e-3


@pytest.mark.parametrize("apart", [0.0015, 0.002, 0.0025, 0.005, 0.1])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_near_copies_are_two_atoms(apart, nonnegative):
    atoms = np.array([[1, 0], [1, apart]], np.float32)
    target = atoms.T @ np.array([2.0, 3.0], np.float32)
    found = omp(
        atoms @ atoms.T, atoms @ target, float(target @ target), 2, lam=0.0, eps=0.0,
        nonnegative=nonnegative,
    )  # fmt: skip
    assert sorted(np.asarray(found.indices)) == [0, 1]


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("least", [3e-3, 1e-2])
def test_small_pivots_are_picked_as_long_as_they_are_no_noise(nonnegative, least):
    """Dimensions down to `least` of the first, and, non-negative, atoms that leave: they give back
    the noise too. As close as a float64 pursuit, but for rounding."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        atoms = rng.normal(size=(40, 35)) * np.geomspace(1, least, 35)
        target = atoms.sum(axis=0) + seed % 2 * (atoms.T @ rng.normal(size=40))
        square = float(target @ target)
        gram, correlations = atoms @ atoms.T, atoms @ target
        found = omp(
            gram.astype(np.float32), correlations.astype(np.float32), square, 30, lam=0.0, eps=0.0,
            nonnegative=nonnegative,
        )  # fmt: skip
        oracle = plain_omp(atoms, target, 30, lam=0.0, nonnegative=nonnegative)
        errors = []
        for indices, weights in (
            (found.indices[: int(found.size)], found.weights[: int(found.size)]),
            (list(oracle), list(oracle.values())),
        ):
            fit = np.asarray(weights, np.float64) @ atoms[np.asarray(indices)]
            errors.append(np.sum((fit - target) ** 2) / square)
        assert errors[0] < 2 * errors[1] + 1e-6, seed
