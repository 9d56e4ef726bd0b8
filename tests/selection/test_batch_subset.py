"""`select_batches` against plain OMP on the batches' means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.batches import even_batches
from gradmatch_jax.selection.coreset import select_coreset_batches
from plain_omp import (
    SIGNED,
    C,
    E,
    N,
    assert_same,
    by_index,
    check,
    dense,
    plain_omp,
    random_gradients,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"budget": -2}, "budget must be 0 or more"),
        ({"lam": -1.0}, "lam must be 0 or more"),
        ({"target": jnp.zeros((C + 1, 1 + E))}, r"target has shape .*, expected \(5, 5\)"),
        pytest.param({"fill": "zeros"}, "no fill named"),
        pytest.param({"lam_scale": "log"}, "no lam_scale named"),
    ],
)
def test_bad_arguments_of_batches(options, message):
    arguments = {"budget": 12, "batch_size": 8, "key": jax.random.key(0)} | options
    with pytest.raises(UserError, match=message):
        select_batches(random_gradients(), **arguments)


@pytest.mark.parametrize(
    ("n", "batch_size"), [(60, 8), (60, 7), (10, 3), (11, 100), (5, 1), (1, 4), (61, 20), (99, 10)]
)
def test_even_batches_are_a_partition(n, batch_size):
    batches = np.asarray(even_batches(jax.random.key(n), n, batch_size))
    sizes = np.sum(batches >= 0, axis=1)
    assert sorted(batches[batches >= 0].tolist()) == list(range(n))
    assert sizes.max() - sizes.min() <= 1
    assert sizes.max() == batches.shape[1]
    assert len(batches) == max(1, round(n / batch_size))
    if n > 10:
        other = np.asarray(even_batches(jax.random.key(n + 1), n, batch_size))
        assert not np.array_equal(batches, other)


def batches_of(key, n, batch_size):
    """The batches `select_batches` draws under `key`."""
    rows = even_batches(jax.random.split(key)[0], n, batch_size).tolist()
    return [[i for i in row if i >= 0] for row in rows]


@pytest.mark.thorough
@pytest.mark.parametrize("budget", [20, 19])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_batches_match_a_dense_reference(nonnegative, budget):
    """20 and 19 of 60 in batches of 7 or 6 (nine of them): picks until they are enough, one cut."""
    gradients, key = random_gradients(), jax.random.key(3)
    options = {"lam": 1e-3, "nonnegative": nonnegative}
    selection = select_batches(gradients, budget, 7, key=key, **options)
    check(selection, budget)
    batches, atoms = batches_of(key, N, 7), dense(gradients)
    means = np.stack([atoms[b].mean(axis=0) for b in batches])
    for picks in range(1, 5):
        matched = plain_omp(means, atoms.sum(axis=0), picks, **options)
        members = sum(len(batches[b]) for b in matched)
        if members >= budget:
            break
    assert members >= budget, "this seed fills its budget"
    found, over = by_index(selection), members - budget
    cut = min((b for b in matched if len(batches[b]) > over), key=lambda b: abs(matched[b]))
    for b, weight in matched.items():
        kept = [i for i in batches[b] if i in found]
        assert len(kept) == len(batches[b]) - (over if b == cut else 0)
        for i in kept:
            assert found[i] == pytest.approx(weight / len(kept), rel=1e-3)
    assert len(found) == budget
    assert int(selection.size) == int(selection.num_matched) == budget
    expected = sum(w * atoms[i] for i, w in found.items()) - atoms.sum(axis=0)
    expected = np.linalg.norm(expected) / np.linalg.norm(atoms.sum(axis=0))
    assert float(selection.matching_error) == pytest.approx(expected, rel=1e-4)


@pytest.mark.thorough
def test_batches_fill_what_matching_leaves():
    zero = LastLayerGradients(jnp.zeros((N, C)), random_gradients().features)
    options = {"key": jax.random.key(3), "lam": 1e-3} | SIGNED
    selection = select_batches(zero, 20, 7, **options)
    check(selection, 20)
    assert (int(selection.size), int(selection.num_matched)) == (20, 0)
    np.testing.assert_allclose(selection.weights, N / 20)
    bare = select_batches(zero, 20, 7, fill="none", **options)
    check(bare, 20)
    assert int(bare.size) == 0


@pytest.mark.thorough
def test_batches_beyond_n_target_and_relative_lam():
    """80 of 60 are all 60; scaled gradients and target give the same answer."""
    gradients = random_gradients()
    whole = gr.weighted_sum(gradients, jnp.ones(N))
    options = {"key": jax.random.key(3), "lam": 0.1, "lam_scale": "relative"} | SIGNED
    first = select_batches(gradients, 80, 7, target=whole, **options)
    assert sorted(by_index(first)) == list(range(N))
    large = gradients._replace(residuals=1000 * gradients.residuals)
    assert_same(select_batches(large, 80, 7, target=1000 * whole, **options), first)
    batches, atoms = batches_of(options["key"], N, 7), dense(gradients)
    means = np.stack([atoms[b].mean(axis=0) for b in batches])
    lam = 0.1 * np.mean(np.sum(means**2, axis=1))
    matched = plain_omp(means, atoms.sum(axis=0), len(means), lam, False)
    expected = {i: w / len(batches[b]) for b, w in matched.items() for i in batches[b]}
    assert_same(first, expected, rtol=1e-3)


@pytest.mark.parametrize(("n", "batch_size", "budget"), [(203, 2, 40), (199, 4, 40), (199, 20, 99)])
@pytest.mark.parametrize("select", [select_batches, select_coreset_batches])
def test_batches_of_two_sizes_lose_no_weight(select, n, batch_size, budget):
    """One batch is cut and none is dropped, however many of the smaller ones would be needed."""
    rng = np.random.default_rng(0)
    rows, key = (rng.normal(size=(n, 30)) + 0.3).astype(np.float32), jax.random.key(1)
    selection = select(rows, budget, batch_size, key=key)
    found = by_index(selection)
    assert len(found) == int(selection.num_matched) == budget
    shuffled = jax.random.split(key)[0] if select is select_batches else key
    drawn = even_batches(shuffled, n, batch_size).tolist()
    parts = [[i for i in row if i in found] for row in drawn]
    wholes = [sum(i >= 0 for i in row) for row in drawn]
    touched = [(len(part), whole) for part, whole in zip(parts, wholes, strict=True) if part]
    assert sum(part < whole for part, whole in touched) <= 1
    assert sum(whole for _, whole in touched) - budget < max(wholes)
    if select is select_coreset_batches:
        assert sum(found.values()) == pytest.approx(n)
