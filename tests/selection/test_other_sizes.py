"""Other numbers of examples, classes and picks share a compiled answer, which is the exact size's.

Inside a user's jit nothing is filled up: there the sizes are as they are, and so the answer to
compare with.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.gradients import LastLayerGradients, weighted_sum
from gradmatch_jax.selection import batch_subset, coreset
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset_batches
from gradmatch_jax.selection.glister import Validation, _by_rounds, glister

# (examples, classes, batch size): batches of one size and of two, one short of a batch's size more.
SIZES = [(64, 4, 7), (63, 4, 7), (62, 3, 7), (61, 4, 7)]
KEY = jax.random.key(3)


def problem(n, classes, seed=0):
    rng = np.random.default_rng(seed + n)
    sides = rng.normal(size=(n, classes)), np.abs(rng.normal(size=(n, 6)))
    gradients = LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in sides))
    labels = jnp.asarray(rng.integers(0, classes, n), jnp.int32)
    return gradients, Validation(*gradients, labels)


def assert_alike(found, alone, rtol=1e-3):
    np.testing.assert_array_equal(found.indices, alone.indices)
    np.testing.assert_allclose(found.weights, alone.weights, rtol=rtol, atol=1e-5)
    assert (int(found.size), int(found.num_matched)) == (int(alone.size), int(alone.num_matched))
    np.testing.assert_allclose(found.matching_error, alone.matching_error, rtol=rtol, atol=1e-5)


def compiled_once(program, calls):
    """The results of the calls, of which the first alone compiles `program`."""
    found = [calls[0]()]
    programs = program._cache_size()
    found += [call() for call in calls[1:]]
    assert program._cache_size() == programs
    return found


BATCHES = [
    ({}, False),
    ({"lam": 0.1, "lam_scale": "relative"}, False),
    ({"fill": "calibrated"}, True),
    ({"lam": 1e3, "nonnegative": False}, True),
    ({"eps": 1e6}, False),
]


@pytest.mark.parametrize(("options", "own_target"), BATCHES, ids=str)
def test_per_batch(options, own_target):
    problems = [problem(n, classes)[0] for n, classes, _ in SIZES]

    def chosen(gradients):
        ones = jnp.linspace(0.5, 1.5, len(gradients.features))
        target = weighted_sum(gradients, ones) if own_target else None
        return select_batches(gradients, 20, 7, key=KEY, target=target, **options)

    calls = [lambda g=g: chosen(g) for g in problems]
    for found, gradients in zip(
        compiled_once(batch_subset._select_batches, calls), problems, strict=True
    ):
        assert_alike(found, jax.jit(chosen)(gradients))


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_coresets_of_batches(batch_size):
    problems = [problem(n, classes)[0] for n, classes, _ in SIZES]

    def chosen(gradients):
        return select_coreset_batches(gradients, 20, batch_size, key=KEY)

    calls = [lambda g=g: chosen(g) for g in problems]
    for found, gradients in zip(
        compiled_once(coreset._select_batches, calls), problems, strict=True
    ):
        assert_alike(found, jax.jit(chosen)(gradients))
        assert float(jnp.sum(found.weights)) == pytest.approx(len(gradients.features), rel=1e-5)


@pytest.mark.parametrize(("greedy", "refresh"), [("taylor", 0.1), ("naive", 0.03), ("taylor", 1.0)])
def test_glister(greedy, refresh):
    """Another budget too, and another size of the validation set."""
    problems = [(*problem(n, 4), k) for n, k in ((64, 32), (63, 31), (62, 30))]

    def chosen(gradients, validation, k):
        options = {"eta": 0.1, "greedy": greedy, "refresh": refresh}
        return glister(gradients, Validation(*(x[: 3 * k // 2] for x in validation)), k, **options)

    calls = [lambda p=p: chosen(*p) for p in problems]
    for found, (gradients, validation, k) in zip(
        compiled_once(_by_rounds, calls), problems, strict=True
    ):
        alone = jax.jit(chosen, static_argnums=2)(gradients, validation, k)
        assert found.indices.shape == (k,)
        np.testing.assert_array_equal(found.indices, alone.indices)
        np.testing.assert_array_equal(found.weights, alone.weights)


@pytest.mark.parametrize("lam", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_calibrated_where_filled_up_classes_outnumber_the_picks(lam, nonnegative):
    """15 numbers for 20 picks, 24 with the classes that are added, of no rank."""
    rng = np.random.default_rng(0)
    sides = rng.normal(size=(100, 5)), rng.normal(size=(100, 2))
    gradients = LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in sides))

    def chosen(gradients):
        options = {"lam": lam, "nonnegative": nonnegative, "fill": "calibrated"}
        return select_batches(gradients, 20, 4, key=KEY, **options)

    found, alone = chosen(gradients), jax.jit(chosen)(gradients)
    np.testing.assert_array_equal(found.indices, alone.indices)
    assert float(found.matching_error) == pytest.approx(float(alone.matching_error), abs=2e-3)


def test_a_batch_of_all_takes_no_more_room_than_they_do():
    gradients = problem(64, 4)[0]
    whole = select_batches(gradients, 10, 10**6, key=KEY)
    assert_alike(whole, select_batches(gradients, 10, 64, key=KEY))


def test_glister_in_64_bits():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        gradients, validation = problem(64, 4)
        assert int(glister(gradients, validation, 8, eta=0.1).size) == 8
