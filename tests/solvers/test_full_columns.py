"""The Gram form where its columns are full: made anew, one for each atom of the support."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.solvers import gram_columns, gram_form
from gradmatch_jax.solvers.pursuit import omp
from oracles import nonnegative_omp, random_problem


@pytest.mark.parametrize("many", [gram_columns.MANY, 0], ids=["few", "foreseen"])
def test_departures_fill_the_buffer_and_are_compressed(many, monkeypatch):
    """Many more departures than the buffer has spare columns for: still the dense answer."""
    monkeypatch.setattr(gram_columns, "MANY", many)
    monkeypatch.setattr(gram_columns, "NEAR", 0)
    monkeypatch.setattr(gram_columns, "CHUNK", 8)
    made_anew, rebuilt = [], gram_form.rebuilt

    def counted(const, state):
        jax.debug.callback(made_anew.append, state.step)
        return rebuilt(const, state)

    monkeypatch.setattr(gram_form, "rebuilt", counted)
    jax.clear_caches()
    rng = np.random.default_rng(0)
    base = random_problem(1, 300, 30, 1e-2, "independent")
    problem = base._replace(target=base.target + rng.normal(size=30))
    k = 60
    reference = problem.objective(*nonnegative_omp(problem, k))
    found = omp(
        jnp.asarray(problem.gram, jnp.float32), jnp.asarray(problem.correlations, jnp.float32),
        float(problem.target @ problem.target), k, lam=problem.lam,
    )  # fmt: skip
    jax.effects_barrier()
    jax.clear_caches()
    assert made_anew, "the buffer was never full"
    size = int(found.size)
    support, weights = np.asarray(found.indices)[:size], np.asarray(found.weights)[:size]
    assert np.all(weights > 0)
    scale = 1e-6 * (problem.target @ problem.target)  # float32's resolution of the objective
    assert problem.objective(support, weights) <= 1.001 * reference + scale
