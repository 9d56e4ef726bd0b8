"""Facility location against naive greedy in NumPy, apricot and submodlib."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import facility_location as facility_location_benchmark
from gradmatch_jax.errors import UserError
from gradmatch_jax.solvers.facility_location import (
    facility_location,
    maximise,
    similarities_of,
    squared_distances,
)
from oracles import check_greedy, digits_gradients, naive_facility_location, similar
from toys import LONG


def distinct(similarities, seed=0):
    """No two alike: what an example is to itself differs, which is what exact ties come from."""
    noise = np.random.default_rng(seed).uniform(size=len(similarities))
    return similarities + np.diag(0.01 * similarities.max() * noise)


@pytest.mark.thorough
@pytest.mark.parametrize("bits", [32, 64])
def test_many_problems_in_one_loop_are_naive_greedy_on_each(bits):
    """Budgets 0 to beyond n, paddings of all lengths; what lies in the padding does not matter."""
    rng = np.random.default_rng(0)
    sizes, budgets = [50, 37, 50, 8, 0, 50], [20, 20, 1, 12, 5, 0]
    similarities = np.array([distinct(similar(a)) for a in rng.normal(size=(6, 50, 3))])
    valid = np.arange(50)[None] < np.array(sizes)[:, None]
    with jax.enable_x64(bits == 64):
        padded = jnp.asarray(similarities, np.float32 if bits == 32 else np.float64)
        answer = maximise(padded, jnp.asarray(valid), jnp.asarray(budgets, jnp.int32), 20, block=7)
        assert answer[2].dtype == padded.dtype
        positions, owner, gains = (np.asarray(x) for x in answer)
    for i, (n, budget) in enumerate(zip(sizes, budgets, strict=True)):
        picks, counts, total = naive_facility_location(similarities[i, :n, :n], budget)
        assert positions[i].tolist() == picks + [-1] * (20 - len(picks))
        assert gains[i].sum() == pytest.approx(total, rel=1e-5 if bits == 32 else 1e-12)
        assert np.all(gains[i, len(picks) :] == 0)
        if picks:
            assert np.bincount(owner[i, :n], minlength=len(picks)).tolist() == counts.tolist()


@pytest.mark.thorough
@pytest.mark.parametrize("block", [1, 7, 40, 500])
def test_exact_ties_go_to_the_lowest_index_in_blocks_of_any_size(block):
    """Whole numbers up to 3, whose sums are exact: full of ties; the last picks gain nothing."""
    for seed in range(5):
        similarities = np.random.default_rng(seed).integers(0, 4, size=(41, 41)).astype(float)
        picks, sizes, total = naive_facility_location(similarities, 30)
        found = facility_location(jnp.asarray(similarities, jnp.float32), 30, block=block)
        assert found.indices.tolist() == picks
        assert found.sizes.tolist() == sizes.tolist()
        assert float(found.objective) == total
        assert np.all(np.diff(found.gains) <= 0), "gains only shrink"
    assert float(found.gains[-1]) == 0


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("steps", [0, 500])
def test_real_gradients(steps, bits):
    """Digits, about 140 of a class, by the distances that the Gram matrix gives."""
    problem = digits_gradients(label=3, steps=steps)
    truth = similar(problem.atoms)
    with jax.enable_x64(bits == 64):
        gram = jnp.asarray(problem.gram, np.float32 if bits == 32 else np.float64)
        similarities = similarities_of(
            squared_distances(gram[None]), jnp.ones((1, len(gram)), bool)
        )[0]
        found = facility_location(similarities, 40)
        check_greedy(np.asarray(similarities, np.float64), found.indices, found.sizes, 1e-4)
    # Distances are square roots: half of the digits of their squares.
    np.testing.assert_allclose(similarities, truth, atol=(2e-3, 1e-7)[bits == 64] * truth.max())
    total = naive_facility_location(truth, 40)[2]
    assert truth[np.asarray(found.indices)].max(axis=0).sum() == pytest.approx(total, rel=1e-4)


def others(name, similarities, budget):
    """The picks of another library, in order."""
    if name == "apricot":
        selector = importlib.import_module(name).FacilityLocationSelection(
            budget, metric="precomputed", optimizer="lazy"
        )
        return selector.fit(similarities).ranking.tolist()
    problem = importlib.import_module(name).FacilityLocationFunction(
        n=len(similarities), mode="dense", sijs=similarities, separate_rep=False
    )
    found = problem.maximize(
        budget, "LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, show_progress=False
    )
    return [i for i, _ in found]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param("apricot", marks=LONG), "submodlib"])
def test_other_libraries_make_the_same_picks(name):
    pytest.importorskip(name, reason=f"{name} is not installed: no second opinion from it")
    with jax.enable_x64(True):
        for steps in (0, 500):
            similarities = distinct(similar(digits_gradients(5, steps).atoms))
            expected = others(name, similarities, 30)
            found = facility_location(jnp.asarray(similarities), 30)
            assert found.indices.tolist() == expected
            objective = similarities[expected].max(axis=0).sum()
            assert float(found.objective) == pytest.approx(objective, rel=1e-12)


def test_budget_zero_beyond_n_and_no_examples():
    none = facility_location(jnp.ones((4, 4)), 0)
    assert (none.indices.shape, float(none.objective)) == ((0,), 0.0)
    all_four = facility_location(jnp.eye(4), 6)
    assert all_four.indices.tolist() == [0, 1, 2, 3, -1, -1]
    assert all_four.sizes.tolist() == [1, 1, 1, 1, 0, 0]
    assert all_four.gains.tolist() == [1, 1, 1, 1, 0, 0]
    assert facility_location(jnp.zeros((0, 0)), 2).indices.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("similarities", "budget", "message"),
    [
        (jnp.ones((3, 4)), 1, r"square matrix, not of shape \(3, 4\)"),
        (jnp.ones((3, 3)), -1, "budget must be 0 or more, not -1"),
        (-jnp.ones((3, 3)), 1, "finite and 0 or more"),
        (np.full((3, 3), np.nan), 1, "finite and 0 or more"),
        (jnp.full((3, 3), jnp.inf), 1, "finite and 0 or more"),
    ],
)
def test_bad_similarities(similarities, budget, message):
    with pytest.raises(UserError, match=message) as error:
        facility_location(similarities, budget)
    assert "\n" not in str(error.value)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_benchmark_reports_the_objective(tmp_path, capsys):
    args = facility_location_benchmark.FacilityLocationBenchmark(
        n=40, d=5, budgets=(6,), solvers=("submodlib",), repeats=1, results=tmp_path / "r.jsonl"
    )
    facility_location_benchmark.main(args)
    records = list(map(json.loads, args.results.read_text().splitlines()))
    points = np.random.default_rng(0).standard_normal((40, 5))
    expected = naive_facility_location(similar(points), 6)[2]
    for record in records:
        assert record["size"] == 6
        assert record["seconds"] > 0
        assert record["objective"] == pytest.approx(expected, rel=1e-5)
        assert record["objective_ratio"] == pytest.approx(1, rel=1e-5)
    assert records[0]["solver"] in capsys.readouterr().out


@pytest.mark.thorough
@LONG
def test_benchmark_is_rehearsed(tmp_path):
    args = facility_location_benchmark.FacilityLocationBenchmark(
        quick=True, results=tmp_path / "r.jsonl"
    )
    facility_location_benchmark.main(args)
    ours, *others = map(json.loads, args.results.read_text().splitlines())
    assert ours["solver"] == "facility_location"
    assert (ours["k"], ours["size"], ours["speed_up"]) == (10, 10, 1.0)
    for other in others:
        assert other["objective_ratio"] == pytest.approx(1, rel=1e-5)
