"""OMP against scikit-learn, a dense NumPy reference with SciPy's NNLS, and its own promises."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.solvers import foresight, gram_columns
from gradmatch_jax.solvers import problem as matching
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form
from gradmatch_jax.solvers.pursuit import match, omp
from oracles import (
    digits_gradients,
    nonnegative_least_squares,
    nonnegative_omp,
    random_problem,
    softmax_gradients,
)
from toys import LONG

SHAPES = [(40, 25, 10), (60, 90, 20), (50, 8, 16)]  # n, d, k; in the last k goes beyond the rank
LAMS = [0.1, 0.5, 5.0]


def solve(problem, budget, dtype=jnp.float32, **options):
    """Our answer to a `Problem`, as NumPy arrays cut to size."""
    result = omp(
        jnp.asarray(problem.gram, dtype),
        jnp.asarray(problem.correlations, dtype),
        float(problem.target @ problem.target),
        budget,
        lam=problem.lam,
        **options,
    )
    size = int(result.size)
    assert np.all(np.asarray(result.indices)[size:] == -1)
    assert np.all(np.asarray(result.weights)[size:] == 0)
    weights = np.asarray(result.weights, np.float64)[:size]
    return np.asarray(result.indices)[:size], weights, float(result.objective)


def gram_problems(problems, lam, *, budgets, free=None):
    """Problems of one size as a batch of Gram problems."""
    shape = len(problems), len(problems[0].atoms)
    return matching.Problem(
        jnp.asarray([p.target @ p.target for p in problems], jnp.float32),
        jnp.asarray(np.ones(shape, bool) if free is None else free),
        jnp.asarray(budgets, jnp.int32),
        jnp.full(shape[0], lam, jnp.float32),
        gram=jnp.asarray([p.gram for p in problems], jnp.float32),
        correlations=jnp.asarray([p.correlations for p in problems], jnp.float32),
    )


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("bits", [32, pytest.param(64, marks=LONG)])
def test_signed_equals_scikit_learn(n, d, k, lam, bits):
    """9 x 25 problems in each precision: the supports in order, and the weights."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    problems = [random_problem(seed, n, d, lam, "independent") for seed in range(25)]
    dtype = np.float32 if bits == 32 else np.float64
    with jax.enable_x64(bits == 64):
        solve_all = jax.vmap(lambda g, c, t: omp(g, c, t, k, lam=lam, nonnegative=False))
        results = solve_all(
            jnp.asarray([p.gram for p in problems], dtype),
            jnp.asarray([p.correlations for p in problems], dtype),
            jnp.asarray([p.target @ p.target for p in problems], dtype),
        )
        assert results.weights.dtype == dtype
        results = jax.tree.map(np.asarray, results)
    for i, p in enumerate(problems):
        dense = linear_model.orthogonal_mp_gram(
            p.gram + lam * np.eye(n), p.correlations, n_nonzero_coefs=k
        )
        support, weights = results.indices[i], results.weights[i]
        assert set(support) == set(np.flatnonzero(dense)), f"problem {i}"
        error = np.abs(weights - dense[support]).max() / np.abs(dense).max()
        assert error < (1e-4 if bits == 32 else 1e-9), f"problem {i}: {error}"
        expected = p.objective(support, dense[support])
        scale = p.target @ p.target
        assert abs(results.objective[i] - expected) < (1e-5 if bits == 32 else 1e-12) * scale


@pytest.mark.parametrize("kind", ["sum", "mixture", "independent"])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(60, 20, 15), (60, 20, 30), pytest.param(200, 40, 30, marks=LONG)]
)
def test_nonnegative_equals_dense_reference(n, d, k, kind):
    for seed in range(8):
        problem = random_problem(seed, n, d, 0.5, kind)
        reference = problem.objective(*nonnegative_omp(problem, k))
        support, weights, objective = solve(problem, k)
        assert np.all(weights > 0)
        assert len(set(support)) == len(support) <= k
        ours = problem.objective(support, weights)
        assert ours <= reference * (1.01 if k <= d else 1.10), f"seed {seed}"
        assert abs(objective - ours) < 1e-5 * (problem.target @ problem.target)


@pytest.mark.thorough
@pytest.mark.parametrize(("steps", "k"), [(0, 8), (0, 60), (50, 8), (50, 60), (500, 30)])
def test_nonnegative_on_real_gradients_of_digits(steps, k):
    """k = 60 of about 140 examples goes beyond the rank of what 64 pixels span."""
    problem = digits_gradients(label=3, steps=steps)
    reference = problem.objective(*nonnegative_omp(problem, k))
    support, weights, _ = solve(problem, k)
    assert np.all(weights > 0)
    assert problem.objective(support, weights) <= 1.01 * reference


@pytest.mark.thorough
def test_nonnegative_on_real_gradients_of_mnist(shared_data):
    folder = shared_data / "mnist"
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:4000, ::2, ::2]
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[:4000]
    problem = softmax_gradients(x.reshape(4000, -1) / 255.0, y, label=5, steps=60, lam=0.5)
    reference = problem.objective(*nonnegative_omp(problem, 60))
    support, weights, _ = solve(problem, 60)
    assert np.all(weights > 0)
    assert problem.objective(support, weights) <= 1.01 * reference


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("made", [{"CANDIDATES": 1}, {"CANDIDATES": 3}, {"MANY": 0}], ids=str)
@pytest.mark.parametrize("atoms", ["independent", "mixture"])
def test_how_many_are_read_at_once_changes_nothing(made, atoms, nonnegative, monkeypatch):
    """Few candidates, foreseen ones and short chunks of columns change the cost, not the answer."""
    problem = random_problem(1, 150, 60, 0.5, atoms)
    whole = solve(problem, 50, nonnegative=nonnegative)
    monkeypatch.setattr(gram_columns, "NEAR", 0)
    monkeypatch.setattr(gram_columns, "CHUNK", 8)
    monkeypatch.setattr(foresight, "AMONG", 12)  # few enough to miss some
    for name, value in made.items():
        monkeypatch.setattr(gram_columns, name, value)
    jax.clear_caches()
    parts = solve(problem, 50, nonnegative=nonnegative)
    jax.clear_caches()
    assert list(parts[0]) == list(whole[0])
    assert problem.objective(*parts[:2]) == pytest.approx(problem.objective(*whole[:2]), rel=1e-5)


class TestDegenerate:
    """Everyday input: ties, zero atoms, duplicates, k beyond the rank and beyond n.

    Mostly of the size of the references above, 60 atoms for 15 or 30: one program for all.
    """

    def test_zero_target_selects_nothing(self):
        problem = random_problem(0, 60, 5, 0.5)._replace(target=np.zeros(5))
        support, _, objective = solve(problem, 15)
        assert len(support) == 0
        assert objective == 0

    def test_zero_atoms_are_never_picked(self):
        problem = random_problem(0, 60, 40, 0.5, "mixture")
        problem.atoms[::2] = 0
        support, _, _ = solve(problem, 30)
        assert len(support) > 5
        assert np.all(support % 2 == 1)

    @pytest.mark.parametrize("nonnegative", [True, False])
    def test_duplicates_without_ridge(self, nonnegative):
        """At lam = 0 a copy of a chosen atom adds nothing and is not picked."""
        problem = random_problem(0, 20, 30, 0.0, "mixture")
        problem = problem._replace(atoms=np.concatenate([problem.atoms] * 3))
        support, weights, _ = solve(problem, 30, nonnegative=nonnegative)
        assert len(set(support % 20)) == len(support)
        assert np.all(np.isfinite(weights))
        assert problem.objective(support, weights) < 1e-6 * problem.target @ problem.target

    def test_duplicates_share_the_weight_with_ridge(self):
        problem = random_problem(0, 15, 30, 0.5, "sum")
        none = np.zeros((30, 30))
        doubled = problem._replace(atoms=np.concatenate([*[problem.atoms] * 2, none]))
        support, weights, _ = solve(doubled, 30)
        assert sorted(support) == list(range(30))
        by_atom = {int(j): w for j, w in zip(support, weights, strict=True)}
        assert all(by_atom[j] == pytest.approx(by_atom[j + 15], rel=1e-3) for j in range(15))

    def test_budget_beyond_rank_and_n(self):
        problem = random_problem(0, 12, 4, 0.5)
        result = omp(
            jnp.asarray(problem.gram, jnp.float32),
            jnp.asarray(problem.correlations, jnp.float32),
            float(problem.target @ problem.target),
            50,
        )
        assert result.indices.shape == (50,)
        assert 4 <= int(result.size) <= 12
        assert bool(jnp.all(jnp.isfinite(result.weights)))

    def test_budget_zero(self):
        result = omp(jnp.eye(3), jnp.ones(3), 3.0, 0)
        assert result.indices.shape == (0,)
        assert float(result.objective) == 3.0

    @pytest.mark.thorough
    @LONG
    def test_eps_stops_early(self):
        problem = random_problem(0, 40, 60, 1e-3, "mixture")
        full, _, objective = solve(problem, 20)
        tolerance = 20 * objective
        early, weights, reached = solve(problem, 20, eps=tolerance)
        assert 0 < len(early) < len(full)
        assert reached < tolerance <= problem.objective(early[:-1], _refit(problem, early[:-1]))
        assert np.all(weights > 0)


def _refit(problem, support):
    return nonnegative_least_squares(problem.atoms[support], problem.target, problem.lam)


@pytest.mark.thorough
def test_many_problems_in_one_loop_equal_one_at_a_time():
    """Different budgets, some padded atoms: each problem is what it is alone.

    The padded one without its padding, the others in the same slots, which compiles once.
    """
    problems = [random_problem(seed, 50, 25, 0.5, "mixture") for seed in range(4)]
    budgets, sizes = [3, 20, 11, 0], [50, 50, 37, 50]
    free = np.arange(50)[None] < np.array(sizes)[:, None]
    solved = jax.jit(lambda posed: match(posed, 20, MatchingOptions(), Form.GRAM))
    positions, weights, _ = solved(gram_problems(problems, 0.5, budgets=budgets, free=free))
    for i, problem in enumerate(problems):
        if sizes[i] < len(problem.atoms):
            expected, w, _ = solve(problem._replace(atoms=problem.atoms[: sizes[i]]), budgets[i])
        else:
            found = solved(gram_problems([problem], 0.5, budgets=budgets[i : i + 1]))
            expected, w = (np.asarray(x[0])[np.asarray(found[0][0]) >= 0] for x in found[:2])
        count = int(np.sum(np.asarray(positions[i]) >= 0))
        assert list(np.asarray(positions[i][:count])) == list(expected)
        np.testing.assert_allclose(weights[i][:count], w, rtol=1e-3)


def test_second_call_does_not_compile():
    compiled = []

    def listen(event, duration_secs, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    first, second = (random_problem(seed, 60, 12, 0.5) for seed in (0, 1))
    args = [
        (jnp.asarray(p.gram, jnp.float32), jnp.asarray(p.correlations, jnp.float32),
         jnp.asarray(p.target @ p.target, jnp.float32))
        for p in (first, second)
    ]  # fmt: skip
    jax.block_until_ready(omp(*args[0], 15, lam=0.5))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(omp(*args[1], 15, lam=0.25))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


@pytest.mark.thorough
@LONG
def test_many_small_problems_with_departures():
    """Departures in one problem cost the others no moves: sixty equal what each is alone."""
    problems = [random_problem(seed, 50, 8, 0.1, "independent") for seed in range(60)]
    batch = gram_problems(problems, 0.1, budgets=[7] * 60)
    _, weights, _ = match(batch, 7, MatchingOptions(), Form.GRAM)
    sizes = np.sum(np.asarray(weights) > 0, axis=1)
    expected = [len(nonnegative_omp(p, 7)[0]) for p in problems]
    assert list(sizes) == expected


@pytest.mark.parametrize(
    ("gram", "says"),
    [(-np.eye(3), "negative diagonal"), (np.ones((2, 3)), "square")],
)
def test_a_gram_that_cannot_be_one_is_refused(gram, says):
    with pytest.raises(UserError, match=says):
        omp(gram, np.ones(gram.shape[0]), 1.0, 2)
