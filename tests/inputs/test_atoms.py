"""Atoms at the door: forms, offsets, sizes; and what selections make of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import (
    LastLayerGradients,
    UserError,
    Validation,
    facility_location,
    glister,
    matching_error,
    omp,
    partition,
    select_batches,
    select_coreset,
    select_coreset_batches,
    select_subset,
    weighted_sum,
)
from gradmatch_jax.gradients import densify
from gradmatch_jax.selection.distances import distances_of
from oracles import naive_facility_location
from toys import LONG, mostly_long

N, D = 60, 5
RNG = np.random.default_rng(2)
DENSE = RNG.normal(size=(N, D)).astype(np.float32)
FACTORED = LastLayerGradients(
    jnp.asarray(DENSE[:, :3]), jnp.asarray(np.abs(RNG.normal(size=(N, 2))), jnp.float32)
)
HELD = Validation(FACTORED.residuals, FACTORED.features, jnp.arange(N, dtype=jnp.int32) % 3)
SELECT = {
    "select_subset": lambda g, **options: select_subset(g, 6, **options),
    "select_batches": lambda g, **options: select_batches(g, 6, 2, **options),
    "select_coreset": lambda g, **options: select_coreset(g, 6, **options),
    "select_coreset_batches": lambda g, **options: select_coreset_batches(g, 6, 2, **options),
    "glister": lambda g, **options: glister(g, HELD, 6, eta=0.1, **options),
}
DENSE_TOO = [name for name in SELECT if name != "glister"]


def distances(atoms):
    atoms = np.asarray(atoms, np.float64)
    return np.sqrt(((atoms[:, None] - atoms[None]) ** 2).sum(axis=2))


def coverage(truth, selection):
    """CRAIG's sum of distances to the nearest chosen example."""
    return truth[:, np.asarray(selection.indices)].min(axis=1).sum()


def best(truth, k):
    picks = naive_facility_location(truth.max() - truth, k)[0]
    return truth[:, picks].min(axis=1).sum()


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_an_offset_does_not_cancel_dense_distances(offset):
    atoms = (DENSE + offset).astype(np.float32)
    truth = distances(atoms)
    chosen = select_coreset(atoms, 6)
    assert coverage(truth, chosen) == pytest.approx(best(truth, 6), rel=2e-3)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "offsets", mostly_long([(0.0, 1e4), (1e4, 0.0), (1e3, 1e3), (0.0, 0.0)], (1e3, 1e3))
)
def test_an_offset_does_not_cancel_factored_distances(offsets):
    shifted = LastLayerGradients(*(x + o for x, o in zip(FACTORED, offsets, strict=True)))
    wide = LastLayerGradients(*(np.asarray(x, np.float64) for x in shifted))
    ones = np.ones((N, 1))
    extended = np.concatenate([ones, wide.features], axis=1)
    truth = distances((wide.residuals[:, :, None] * extended[:, None]).reshape(N, -1))
    found = distances_of(LastLayerGradients(*(x[None] for x in shifted)), jnp.ones((1, N), bool))
    np.testing.assert_allclose(np.sqrt(np.maximum(found[0], 0)), truth, atol=2e-3 * truth.max())
    chosen = select_coreset(shifted, 6)
    assert coverage(truth, chosen) == pytest.approx(best(truth, 6), rel=2e-3)


def test_an_offset_of_batch_means():
    """Batches of one example are the examples."""
    atoms = (DENSE + 1e4).astype(np.float32)
    truth = distances(atoms)
    chosen = select_coreset_batches(atoms, 6, 1)
    assert coverage(truth, chosen) == pytest.approx(best(truth, 6), rel=2e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", mostly_long([np.uint8, np.int8, np.int16], np.uint8))
def test_integer_atoms_do_not_overflow(dtype):
    atoms = RNG.integers(100, 127, (N, D)).astype(dtype)
    for name in DENSE_TOO:
        found, plain = SELECT[name](atoms), SELECT[name](atoms.astype(np.float32))
        assert found.indices.tolist() == plain.indices.tolist(), name
        assert float(found.matching_error) == float(plain.matching_error), name


@pytest.mark.thorough
@pytest.mark.parametrize("name", SELECT)
def test_forms_of_factored_gradients(name):
    plain = SELECT[name](FACTORED)
    host = LastLayerGradients(*(np.asarray(x) for x in FACTORED))
    lists = LastLayerGradients(*(x.tolist() for x in host))
    for form in (host, lists, tuple(host), host._asdict()):
        assert SELECT[name](form).indices.tolist() == plain.indices.tolist()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["select_batches", "select_coreset_batches"])
def test_dense_atoms_in_batches_are_the_factored_ones(name):
    dense = densify(FACTORED)
    found, plain = SELECT[name](dense), SELECT[name](FACTORED)
    np.testing.assert_array_equal(found.indices, plain.indices)
    np.testing.assert_allclose(found.weights, plain.weights, rtol=1e-3)
    assert float(found.matching_error) == pytest.approx(float(plain.matching_error), rel=1e-3)


@pytest.mark.thorough
def test_targets_are_checked():
    target = weighted_sum(DENSE, np.ones(N))
    plain = select_subset(DENSE, 6, target=target)
    for form in (np.asarray(target), target.tolist(), np.asarray(target, np.float64)):
        assert select_subset(DENSE, 6, target=form).indices.tolist() == plain.indices.tolist()
    batches = select_batches(DENSE, 6, 2, target=target)
    assert batches.indices.tolist() == select_batches(DENSE, 6, 2).indices.tolist()
    bad = [target[:-1], target[None], np.asarray(target) * np.nan, "sum", 3.0, [None] * D, {}]
    bad.append(np.asarray(target) * 1j)
    with pytest.raises(UserError, match=r"pass their sum, weighted_sum\(.*of shape"):
        select_subset(FACTORED, 6, target=FACTORED)
    two, labels = FACTORED._replace(residuals=FACTORED.residuals[:, :2]), np.arange(N) % 2
    each = tuple(weighted_sum(two, (labels == c).astype(np.float32)) for c in range(2))
    plain = select_subset(two, 6, labels=labels).indices.tolist()
    assert select_subset(two, 6, labels=labels, target=each).indices.tolist() == plain
    for target in bad:
        for call in (select_subset, select_batches):
            with pytest.raises(UserError, match="target"):
                call(DENSE, 6, target=target)
        with pytest.raises(UserError, match="target"):
            matching_error(DENSE, [0], [1.0], target)


@pytest.mark.parametrize("name", SELECT)
@pytest.mark.parametrize("size", [1e20, 1e30, 1e38])
def test_huge_gradients_are_an_error(name, size):
    huge = FACTORED._replace(residuals=FACTORED.residuals * size)
    with pytest.raises(UserError, match="rescale") as error:
        SELECT[name](huge)
    assert "\n" not in str(error.value)


def test_huge_numbers_elsewhere():
    with pytest.raises(UserError, match="rescale"):
        facility_location(np.full((N, N), 1e37, np.float32), 3)
    with pytest.raises(UserError, match="eta"):
        glister(FACTORED, HELD, 6, eta=1e38)
    with pytest.raises(UserError, match="rescale"):
        weighted_sum(np.full((N, D), 1e38, np.float32), np.ones(N))
    if not jax.config.jax_enable_x64:  # there it is a number like any other
        with pytest.raises(UserError, match="gram"):
            omp(np.full((3, 3), 1e39), np.ones(3), 1.0, 1)
    with pytest.raises(UserError, match="rescale"):
        matching_error(np.full((N, D), 1e25, np.float32), [0], [1.0])


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("where", [np.asarray, jnp.asarray])
def test_eight_bits_are_numbers_too(dtype, where):
    """Far below the largest float32, which they do not know."""
    eighths = np.round(8 * np.asarray(DENSE[:12])).clip(-8, 8).astype(jnp.dtype(dtype))
    found = select_subset(where(eighths), 4)
    wide = select_subset(eighths.astype(np.float32), 4)
    np.testing.assert_array_equal(found.indices, wide.indices)
    spoilt = eighths.copy()
    spoilt[3] = np.nan
    with pytest.raises(UserError, match=r"^1 of 12 .*first: row 3"):
        select_subset(where(spoilt), 4)


@pytest.mark.thorough
def test_empty_sets():
    for name in SELECT:
        none = LastLayerGradients(*(x[:0] for x in FACTORED))
        assert int(SELECT[name](none).size) == 0, name
    for bad in (DENSE[:, :0], FACTORED._replace(residuals=FACTORED.residuals[:, :0])):
        with pytest.raises(UserError, match="no columns"):
            select_subset(bad, 6)
    bias_only = FACTORED._replace(features=FACTORED.features[:, :0])
    assert int(select_subset(bias_only, 6).size) == 6


@pytest.mark.parametrize("name", mostly_long(SELECT, "select_subset", "glister"))
def test_a_fraction_is_a_budget(name):
    calls = {
        "select_subset": lambda **k: select_subset(FACTORED, **k),
        "select_batches": lambda **k: select_batches(FACTORED, batch_size=2, **k),
        "select_coreset": lambda **k: select_coreset(FACTORED, **k),
        "select_coreset_batches": lambda **k: select_coreset_batches(FACTORED, batch_size=2, **k),
        "glister": lambda **k: glister(FACTORED, HELD, eta=0.1, **k),
    }
    found, plain = calls[name](fraction=np.float32(0.1)), calls[name](budget=6)
    assert found.indices.tolist() == plain.indices.tolist()
    for given in ({}, {"budget": 6, "fraction": 0.1}):
        with pytest.raises(UserError, match=r"budget= .* or fraction="):
            calls[name](**given)
    for fraction in (0, -0.1, 1.5, 6, float("nan"), "0.1", True, [0.1]):
        with pytest.raises(UserError, match="fraction"):
            calls[name](fraction=fraction)
    with pytest.raises(UserError, match=r"fraction=0\.1"):
        calls[name](budget=0.1)


def test_groups_of_other_examples():
    labels = np.arange(N) % 3
    for call in (select_subset, select_coreset):
        for groups in (partition(labels[:30], 6), partition(np.arange(90) % 3, 6)):
            with pytest.raises(UserError, match=r"groups of \d+ examples, and there are 60"):
                call(DENSE, 6, labels=groups)
        with pytest.raises(UserError, match="labels"):
            call(FACTORED, 6, labels=np.arange(N) % 4)  # three logits
    two = partition(labels == 1, 6)
    assert two.members.shape == (2, 40)
    assert partition(labels, fraction=0.1).budget == 6


@pytest.mark.thorough
@LONG
def test_under_jit():
    """What is closed over is known and checked; what is traced passes."""
    closed = jax.jit(lambda weights: weighted_sum(DENSE, weights))(np.ones(N, np.float32))
    np.testing.assert_allclose(closed, DENSE.sum(axis=0), rtol=1e-4, atol=1e-4)
    bad = DENSE.copy()
    bad[3] = np.nan
    with pytest.raises(UserError, match="row 3"):
        jax.jit(lambda weights: weighted_sum(bad, weights))(np.ones(N, np.float32))
    for name in SELECT:
        plain = SELECT[name](FACTORED)
        traced = jax.jit(lambda g, key, name=name: (
            SELECT[name](g) if name == "select_coreset" else SELECT[name](g, key=key)
        ).indices)(FACTORED, jax.random.key(0))  # fmt: skip
        assert traced.tolist() == plain.indices.tolist(), name
    for call in (select_subset, select_coreset):
        with pytest.raises(UserError, match="budget is traced"):
            jax.jit(call)(DENSE, 6)


@pytest.mark.thorough
def test_torch_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(DENSE, requires_grad=True)
    labels = torch.arange(N) % 3
    plain = select_subset(DENSE, 6, labels=np.arange(N) % 3)
    for form in (tensor, tensor.double(), tensor.to_sparse(), list(tensor)):
        found = select_subset(form, torch.tensor(6), labels=labels)
        assert found.indices.tolist() == plain.indices.tolist()
    assert int(select_coreset(tensor.bfloat16(), 6, labels=labels.to(torch.uint8)).size) == 6
