"""`fill="steady"`: the match's own weights where they are even enough, else calibrated ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.matching import _weigh_groups
from gradmatch_jax.selection.ranking import uneven
from gradmatch_jax.selection.result import effective_size
from gradmatch_jax.selection.subset import select_subset
from plain_omp import by_index

N, WIDTH, BUDGET = 200, 12, 60
OPTIONS = {"lam": 0.01, "lam_scale": "relative"}


def rows(spread, seed=0):
    """Gradients whose norms are the more unlike the larger `spread` is."""
    rng = np.random.default_rng(seed)
    norms = np.exp(spread * rng.normal(size=(N, 1)))
    return ((rng.normal(size=(N, WIDTH)) + 0.3) * norms).astype(np.float32)


def of_every_fill(select):
    return {fill: select(fill) for fill in ("random", "calibrated", "steady")}


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=1e-5)
    np.testing.assert_allclose(found.matching_error, wanted.matching_error, rtol=1e-4)


@pytest.mark.parametrize(
    ("spread", "taken"), [(0.0, "random"), (1.0, "random"), (3.0, "calibrated")]
)
@pytest.mark.parametrize("jit", [False, True])
def test_the_evenness_of_the_matches_weights_decides(spread, taken, jit):
    atoms = jnp.asarray(rows(spread))

    def select(fill):
        def chosen(atoms):
            return select_subset(atoms, BUDGET, fill=fill, **OPTIONS)

        return (jax.jit(chosen) if jit else chosen)(atoms)

    found = of_every_fill(select)
    assert (effective_size(found["random"]) < BUDGET / 2) == (taken == "calibrated")
    assert_same(found["steady"], found[taken])
    other = "random" if taken == "calibrated" else "calibrated"
    assert not np.allclose(found["steady"].weights, found[other].weights, rtol=1e-2)


def test_nothing_is_calibrated_for_even_weights():
    """Not so much as compiled, which takes as long as a selection."""
    atoms = rows(0.0)[:, :11]  # of a shape of its own
    compiled = _weigh_groups._cache_size()
    select_subset(atoms, 20, fill="steady", **OPTIONS)
    assert _weigh_groups._cache_size() == compiled
    select_subset(atoms, 20, fill="calibrated", **OPTIONS)
    assert _weigh_groups._cache_size() == compiled + 1


def test_one_decision_for_all_classes():
    """Weights of two kinds would not add up: of even and of uneven classes, all or none."""
    for heavy, taken in ((3, "calibrated"), (1, "random")):
        parts = [rows(4.0, seed) for seed in range(heavy)] + [rows(0.0, 9)] * (4 - heavy)
        atoms, labels = np.concatenate(parts), np.repeat(np.arange(4), N)
        found = of_every_fill(
            lambda fill, atoms=atoms, labels=labels: select_subset(
                atoms, 4 * BUDGET, labels=labels, fill=fill, **OPTIONS
            )
        )
        assert (effective_size(found["random"]) < 2 * BUDGET) == (taken == "calibrated")
        assert_same(found["steady"], found[taken])


def test_half_of_the_examples_with_all_of_the_weight_are_just_even():
    for heavy, wanted in ((51, False), (49, True)):
        weights = jnp.where(jnp.arange(100) < heavy, 1.0, 1e-6)
        for own in (weights, -weights, jnp.pad(weights, 50)):  # signed; places of no example
            assert bool(uneven(own)) == wanted


@pytest.mark.parametrize("factored", [False, True])
@pytest.mark.parametrize("budget", [60, 8])
def test_calibrated_batches_are_the_ridge_around_the_design_weights(factored, budget):
    """Dense gradients too, which are factored ones of no feature; more and fewer than numbers."""
    rng = np.random.default_rng(0)
    atoms = rows(0.5)
    if factored:
        sides = rng.normal(size=(N, 3)), rng.normal(size=(N, 4))
        given = LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in sides))
        ones = np.ones((N, 1))
        atoms = np.einsum("nc,nw->ncw", sides[0], np.concatenate([ones, sides[1]], 1)).reshape(
            N, -1
        )
    else:
        given = atoms
    found = by_index(
        select_batches(given, budget, 4, fill="calibrated", lam=0.7, nonnegative=False)
    )
    a, t = np.array([atoms[i] for i in found], np.float64), atoms.sum(axis=0, dtype=np.float64)
    share = N / len(found)
    system = 0.7 * np.eye(len(t)) + a.T @ a
    wanted = share + a @ np.linalg.solve(system, t - share * a.sum(axis=0))
    np.testing.assert_allclose(list(found.values()), wanted, rtol=2e-3, atol=2e-3)
