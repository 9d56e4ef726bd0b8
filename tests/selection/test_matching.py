"""What `select_subset` says of itself, its options, its forms, its fill and its compilations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import select_batches, select_coreset, select_coreset_batches
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.selection.groups import bucket, partition
from gradmatch_jax.selection.matching import _match_groups
from gradmatch_jax.selection.ranking import calibrated
from gradmatch_jax.selection.result import describe_stops, unweighted
from gradmatch_jax.solvers.atoms import Atoms, dense_atoms
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form, StopReason
from oracles import nonnegative_least_squares
from plain_omp import LABELS, assert_same, dense, plain_omp, random_gradients, select
from toys import LONG


@pytest.mark.thorough
def test_both_forms_select_the_same_and_say_so():
    features, gram = select(form="features"), select(form="gram")
    assert_same(features, gram, rtol=1e-3)
    assert (int(features.form), int(gram.form)) == (Form.FEATURES, Form.GRAM)
    said = describe_stops(features)
    assert said == {"form": "features", "stops": {"the budget is met": 4}}
    assert describe_stops(unweighted(jnp.asarray([1]))) == {"form": None, "stops": {}}
    chosen = Form(int(select().form)).name.lower()
    compiled = _match_groups._cache_size()
    assert Form(int(select(form=chosen).form)).name.lower() == chosen
    assert _match_groups._cache_size() == compiled, "a form asked for is another program"


@pytest.mark.thorough
def test_reasons_are_counted():
    selection = select(eps=1e12)
    assert int(selection.stops[StopReason.EPS]) == 4
    assert int(selection.num_matched) == 0


@pytest.mark.thorough
def test_options_whole_or_by_name():
    whole = select(options=MatchingOptions(lam=0.1, fill="none"))
    assert_same(whole, select(lam=0.1, fill="none"))
    with pytest.raises(UserError, match=r"no option named 'lamb'.*Did you mean 'lam'"):
        select(lamb=0.1)
    with pytest.raises(UserError, match=r"no form named .dense."):
        select(form="dense")


def test_products_that_overflow_are_an_error():
    gradients = random_gradients()
    huge = gradients._replace(residuals=gradients.residuals * 1e25)
    for form in ("gram", "features"):
        with pytest.raises(UserError):
            select(huge, form=form)


def test_another_budget_or_class_size_in_the_bucket_compiles_nothing():
    gradients = random_gradients()
    rng = np.random.default_rng(3)
    sizes = [[33, 27], [27, 33], [33, 27]]  # 33 is in the bucket of 36
    labels = [rng.permutation(np.repeat(np.arange(2), size)) for size in sizes]
    assert {bucket(max(size)) for size in sizes} == {36}
    jax.block_until_ready(select(gradients, 20, labels=labels[0]))
    with compile_seconds() as read:
        for budget, more in ((20, labels[1]), (21, labels[0]), (21, labels[2])):
            selection = select(gradients, budget, labels=more, lam=0.49)  # 0.3: another form's
            assert int(selection.size) == budget == selection.indices.shape[0]
    assert read() == 0.0


@pytest.mark.thorough
def test_a_few_examples_more_compile_no_solver_anew():
    """64 rows hold 61 to 64 examples; what is compiled pads them."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(64, 7)).astype(np.float32)
    labels = np.tile(np.arange(4), 16)
    chosen = [select(rows[:n], 12, labels=labels[:n]) for n in (64, 61)]
    compiled = _match_groups._cache_size()
    for n in (62, 63):
        chosen.append(select(rows[:n], 12, labels=labels[:n]))
        assert int(np.max(chosen[-1].indices)) < n
        assert int(chosen[-1].size) == 12
    assert _match_groups._cache_size() == compiled


@pytest.mark.thorough
@pytest.mark.parametrize("approximation", ["dense", "per_gradient", "exact"])
def test_another_class_count_compiles_no_solver_anew(approximation):
    """Nor do a few examples more; with a target of the classes' own too."""
    rng = np.random.default_rng(6)
    compiled, own = None, approximation == "per_gradient"
    options = {} if approximation == "dense" else {"approximation": approximation}
    options |= {"form": "gram"} if approximation == "exact" else {}
    for count, n in ((4, 64), (3, 63), (2, 62)):
        rows = rng.normal(size=(n, 7)).astype(np.float32)
        labels, atoms = rng.permutation(np.arange(n) % count), rows
        if approximation != "dense":
            residuals = jnp.asarray(rng.normal(size=(n, count)), jnp.float32)
            atoms = LastLayerGradients(residuals, jnp.asarray(rows))
        found = select(atoms, 12, labels=labels, **options)
        assert np.bincount(labels[found.indices]).tolist() == [12 // count] * count
        assert_same(found, select_alone(atoms, labels, 12 // count, own), rtol=1e-3)
        compiled = compiled or _match_groups._cache_size()
        assert _match_groups._cache_size() == compiled
    target = sums_of(atoms, labels, own)
    if approximation != "dense":
        target = target.reshape(len(target), -1, 8)
    again = select(atoms, 12, labels=labels, target=target, **options)
    np.testing.assert_array_equal(again.indices, found.indices)
    np.testing.assert_allclose(again.weights, found.weights, rtol=1e-3)


def of_class(atoms, c, own):
    """A class's atoms as rows: of its own column, or of all."""
    if not isinstance(atoms, LastLayerGradients):
        return np.asarray(atoms, np.float64)
    rows = dense(atoms).reshape(len(atoms.features), atoms.residuals.shape[1], -1)
    return rows[:, c] if own else rows.reshape(len(rows), -1)


def sums_of(atoms, labels, own):
    """What each class has for its target where none is given."""
    classes = range(labels.max() + 1)
    return np.stack([of_class(atoms, c, own)[labels == c].sum(axis=0) for c in classes])


def select_alone(atoms, labels, budget, own):
    """Each class by plain OMP, weights by example."""
    found = {}
    for c in range(labels.max() + 1):
        rows = np.flatnonzero(labels == c)
        mine = of_class(atoms, c, own)[rows]
        solved = plain_omp(mine, mine.sum(axis=0), budget)
        found |= {int(rows[i]): w for i, w in solved.items()}
    return found


@pytest.mark.parametrize(
    "select",
    [select_batches]
    + [
        pytest.param(select, marks=pytest.mark.thorough)
        for select in (select_coreset, select_coreset_batches)
    ],
)
def test_another_budget_of_the_other_selections_compiles_nothing(select):
    gradients = random_gradients()
    more = (4,) if select is not select_coreset else ()
    jax.block_until_ready(select(gradients, 13, *more))
    with compile_seconds() as read:
        for budget in (5, 12, 14, 15):
            selection = select(gradients, budget, *more)
            assert int(selection.size) == budget == selection.indices.shape[0]
    assert read() == 0.0


def test_groups_know_each_examples_group():
    assert partition(LABELS, 10).group_of.tolist() == LABELS.tolist()


@pytest.mark.thorough
@pytest.mark.parametrize("d", [4, 40])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_calibrated_weights_are_the_ridge_around_the_design_weights(d, nonnegative):
    """Both sides of the system (d below and above k), padded slots, two problems at once."""
    rng = np.random.default_rng(0)
    m, k, lam = 50, 12, 0.7
    rows = rng.normal(size=(2, k, d))
    target = 60 * rng.normal(size=(2, d)) + m / k * rows.sum(axis=1)
    real = np.arange(k) < np.array([[12], [9]])
    found = calibrated(
        dense_atoms(jnp.asarray(rows, jnp.float32)),
        jnp.asarray(real),
        jnp.ones((2, m), bool),
        jnp.asarray(target[:, None], jnp.float32),
        jnp.full(2, lam, jnp.float32),
        nonnegative,
    )
    negative = 0
    for i, size in enumerate((12, 9)):
        a, t, share = rows[i, :size], target[i], m / size
        plain = share + a @ np.linalg.solve(lam * np.eye(d) + a.T @ a, t - share * a.sum(axis=0))
        negative += np.sum(plain < 0)
        # min ‖a'w - t‖² + lam ‖w - d‖² with w >= 0: the ridge on rows [a; sqrt(lam) I].
        stacked = np.concatenate([a, np.sqrt(lam) * np.eye(size)], axis=1)
        goal = np.concatenate([t, np.full(size, np.sqrt(lam) * share)])
        kept = nonnegative_least_squares(stacked, goal, 0.0)
        expected = kept if nonnegative else plain
        np.testing.assert_allclose(found[i, :size], expected, rtol=2e-3, atol=2e-3)
        assert np.all(np.asarray(found[i, size:]) == 0)
    assert negative > 0, "the sign matters here"


@pytest.mark.thorough
@LONG
def test_calibrated_fill_brings_the_match_back():
    """Weights around n/k match what a random fill's constant weights spoil."""
    gradients = random_gradients()
    half = gradients._replace(features=gradients.features.at[:, 2:].set(0.0))
    error = {
        fill: float(select(half, 50, lam=5.0, fill=fill, eps=2000.0).matching_error)
        for fill in ("random", "calibrated")
    }
    assert error["calibrated"] < error["random"]


def test_atoms_are_what_their_dense_rows_are():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
    rows = (left[:, :, None] * right[:, None, :]).reshape(7, -1)
    atoms = Atoms(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))
    target, weights = rng.normal(size=(3, 4)), rng.normal(size=7)
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(atoms.gram(), rows @ rows.T, **close)
    np.testing.assert_allclose(atoms.squares(), np.sum(rows**2, axis=1), **close)
    products = atoms.products(jnp.asarray(target, jnp.float32))
    np.testing.assert_allclose(products, rows @ target.ravel(), **close)
    total = atoms.weighted_sum(jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(np.ravel(total), weights @ rows, **close)
