"""`select_subset` against plain OMP in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import gradients as gr
from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.augment import normalise
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.models import build_model
from gradmatch_jax.selection.groups import Groups, partition
from gradmatch_jax.selection.subset import select_subset
from plain_omp import (
    BUDGET,
    LABELS,
    SIGNED,
    SIZES,
    C,
    E,
    N,
    assert_same,
    by_index,
    check,
    dense,
    plain_omp,
    plain_per_class,
    random_gradients,
    select,
)
from toys import LONG, mostly_long

# --- against plain OMP -------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("seed", mostly_long([0, 1, 2], 0))
@pytest.mark.parametrize("nonnegative", [True, False])
def test_classes_solved_together_are_classes_solved_alone(nonnegative, seed):
    gradients = random_gradients(seed)
    selection = select(gradients, nonnegative=nonnegative)
    check(selection)
    atoms = dense(gradients)
    expected = plain_per_class(atoms, nonnegative=nonnegative)
    assert int(selection.size) == int(selection.num_matched) == len(expected) == BUDGET
    assert_same(selection, expected)
    error = norm = 0.0
    for c in range(C):
        target = atoms[c == LABELS].sum(axis=0)
        chosen = sum((w * atoms[i] for i, w in expected.items() if LABELS[i] == c), 0 * target)
        error += np.sum((chosen - target) ** 2)
        norm += np.sum(target**2)
    assert float(selection.matching_error) == pytest.approx(np.sqrt(error / norm), rel=1e-4)


@pytest.mark.thorough
def test_dense_atoms_give_the_answer_of_factored_ones():
    gradients = random_gradients()
    assert_same(select(gr.densify(gradients), **SIGNED), select(gradients, **SIGNED))


@pytest.mark.thorough
def test_one_problem_over_all_examples():
    gradients = random_gradients()
    selection = select(gradients, labels=None, **SIGNED)
    check(selection)
    atoms = dense(gradients)
    assert_same(selection, plain_omp(atoms, atoms.sum(axis=0), BUDGET, **SIGNED))


def test_per_gradient_is_dense_matching_of_the_own_column():
    gradients = random_gradients()
    selection = select(gradients, approximation="per_gradient", **SIGNED)
    check(selection)
    own = dense(gradients).reshape(N, C, 1 + E)[np.arange(N), LABELS]
    assert_same(selection, plain_per_class(own, **SIGNED), rtol=1e-3)
    # and it is not the exact problem
    assert set(by_index(selection)) != set(by_index(select(gradients, **SIGNED)))


@pytest.mark.thorough
def test_validation_target():
    gradients, validation = random_gradients(), random_gradients(5)
    targets = gr.class_sums(validation, jnp.asarray(LABELS), C)
    selection = select(gradients, target=targets, **SIGNED)
    flat = np.asarray(targets, np.float64).reshape(C, -1)
    assert_same(selection, plain_per_class(dense(gradients), flat, **SIGNED))
    own = gr.class_sums(gradients, jnp.asarray(LABELS), C)
    assert_same(select(gradients, target=own, **SIGNED), select(gradients, **SIGNED))


@pytest.mark.thorough
@LONG
def test_relative_lam_is_scale_invariant_and_absolute_is_not():
    gradients = random_gradients()
    large = gradients._replace(residuals=1000 * gradients.residuals)
    relative = {"lam": 0.1, "lam_scale": "relative"} | SIGNED
    first, second = select(gradients, **relative), select(large, **relative)
    assert_same(first, second)
    atoms, expected = dense(gradients), {}
    for c, budget in enumerate(partition(LABELS, BUDGET).budgets.tolist()):
        rows = np.flatnonzero(c == LABELS)
        if len(rows):
            lam = 0.1 * np.mean(np.sum(atoms[rows] ** 2, axis=1))
            alone = plain_omp(atoms[rows], atoms[rows].sum(axis=0), budget, lam, False)
            expected |= {int(rows[i]): w for i, w in alone.items()}
    assert_same(first, expected)
    first, second = select(gradients, lam=50.0, **SIGNED), select(large, lam=50.0, **SIGNED)
    assert by_index(first) != pytest.approx(by_index(second), rel=1e-2)


@pytest.mark.thorough
@LONG
def test_padding_changes_nothing():
    groups = partition(LABELS, BUDGET)
    wider = jnp.pad(groups.members, ((0, 2), (0, 5)), constant_values=-1)
    budgets = jnp.pad(groups.budgets, (0, 2))
    padded = Groups(wider, budgets, groups.group_of, groups.max_budget, groups.budget)
    assert_same(select(labels=padded, **SIGNED), select(**SIGNED))


@pytest.mark.thorough
def test_under_jit_and_without_recompiling():
    groups = partition(LABELS, BUDGET)
    traces = []

    @jax.jit
    def jitted(gradients, groups, lam, key):
        traces.append(1)
        return select_subset(gradients, BUDGET, labels=groups, lam=lam, key=key, **SIGNED)

    first = jitted(random_gradients(0), groups, 0.5, jax.random.key(0))
    other = partition(LABELS[::-1].copy(), BUDGET)
    with compile_seconds() as read:
        jitted(random_gradients(1), other, 0.25, jax.random.key(1))
    assert (len(traces), read()) == (1, 0.0)
    assert_same(first, select(key=jax.random.key(0), **SIGNED))
    # Called directly, new values compile nothing either; a lam so much smaller that another form
    # is the cheaper one would.
    gradients = random_gradients(3)
    with compile_seconds() as read:
        select(gradients, lam=0.6, key=jax.random.key(5), **SIGNED)
    assert read() == 0.0


# --- fill --------------------------------------------------------------------------------------


def short_gradients():
    """Two atoms each class can match, the rest zero: matching stops short of the budget."""
    gradients = random_gradients()
    keep = np.zeros(N, np.float32)
    for c in (0, 1, 3):  # and none of class 4
        keep[np.flatnonzero(c == LABELS)[:2]] = 1
    return gradients._replace(residuals=gradients.residuals * jnp.asarray(keep)[:, None])


@pytest.mark.thorough
def test_fill_accounting():
    gradients = short_gradients()
    bare = select(gradients, fill="none", **SIGNED)
    check(bare)
    matched = by_index(bare)
    assert int(bare.size) == int(bare.num_matched) == len(matched) == 5
    zero, one = (select(gradients, key=jax.random.key(seed), **SIGNED) for seed in (0, 1))
    for selection in (zero, one):
        check(selection)
        assert int(selection.num_matched) == len(matched)
        assert int(selection.size) == BUDGET
        found = by_index(selection)
        assert {i: found[i] for i in matched} == pytest.approx(matched, rel=1e-5)
        for c, budget in enumerate(partition(LABELS, BUDGET).budgets.tolist()):
            members = [i for i in found if LABELS[i] == c]
            assert len(members) == budget
            filled = [found[i] for i in members if i not in matched]
            scale = [abs(matched[i]) for i in members if i in matched]
            mean = min(np.mean(scale), 1) if scale else SIZES[c] / max(budget, 1)
            assert filled == pytest.approx([mean] * len(filled), rel=1e-5)
    assert set(by_index(zero)) != set(by_index(one)), "another key, another fill"
    again = select(gradients, key=jax.random.key(0), **SIGNED)
    assert np.array_equal(zero.indices, again.indices)
    assert np.array_equal(zero.weights, again.weights)


@pytest.mark.thorough
def test_matching_error_counts_the_fill_and_the_classes_left_out():
    gradients = short_gradients()
    for selection in (select(gradients, **SIGNED), select(gradients, fill="none", **SIGNED)):
        found, atoms = by_index(selection), dense(gradients)
        error = norm = 0.0
        for c in range(C):
            target = atoms[c == LABELS].sum(axis=0)
            error += np.sum(
                (sum((w * atoms[i] for i, w in found.items() if LABELS[i] == c), -target)) ** 2
            )
            norm += np.sum(target**2)
        expected = np.sqrt(error / norm)
        assert float(selection.matching_error) == pytest.approx(expected, rel=1e-3)


# --- real data ---------------------------------------------------------------------------------


@pytest.mark.thorough
@LONG
def test_matches_real_gradients_better_than_chance(shared_data):
    """LeNet at its start on 2000 MNIST digits: 10 % matched against 10 % drawn, weighted n/k."""
    n, k = 2000, 200
    train = load_dataset("mnist", shared_data / "mnist").train
    images, labels = train.inputs[:n], np.asarray(train.labels[:n])
    model = build_model("lenet", (28, 28, 1), 10)
    variables = model.init(jax.random.key(0))
    inputs = normalise(jnp.asarray(images), (0.1307,), (0.3081,))
    logits, features, _ = model.apply(variables, inputs, False)
    gradients = gr.last_layer_gradients(logits, features, jnp.asarray(labels))
    selection = select_subset(gradients, k, labels=labels)
    check(selection, k, n)
    found = gr.matching_error(gradients, selection.indices, selection.weights)
    chance = []
    for seed in range(3):
        drawn = jnp.asarray(np.random.default_rng(seed).permutation(n)[:k])
        chance.append(gr.matching_error(gradients, drawn, jnp.full(k, n / k)))
    assert float(found) < min(map(float, chance)) / 10
    assert float(selection.matching_error) < 0.05
