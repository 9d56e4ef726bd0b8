"""Projected gradients: inner products within the sketch's stated error, memory in parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradmatch_jax import matching_error, projected_gradients, select_subset
from gradmatch_jax.errors import UserError
from gradmatch_jax.projection import sketch
from toys import LONG

RNG = np.random.default_rng(0)
N, WIDTH, DIM = 40, 30, 512
X = RNG.normal(size=(N, WIDTH)).astype(np.float32)
Y = RNG.normal(size=N).astype(np.float32)
PARAMS = {
    "w": jnp.asarray(RNG.normal(size=(WIDTH, 20)), jnp.float32) / 5,
    "v": jnp.asarray(RNG.normal(size=20), jnp.float32),
}


def loss(params, x, y):
    return (jnp.dot(jnp.tanh(x @ params["w"]), params["v"]) - y) ** 2


def dense():
    each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(PARAMS, X, Y)
    return np.concatenate([np.reshape(g, (N, -1)) for g in jax.tree.leaves(each)], axis=1)


@pytest.mark.thorough
def test_inner_products_are_within_the_stated_error():
    """Over many keys: unbiased, and no more spread than the bound says."""
    g = dense()[:8].astype(np.float64)
    true, norms = g @ g.T, np.linalg.norm(g, axis=1)
    bound = np.sqrt((np.outer(norms, norms) ** 2 + true**2) / DIM)
    keys = jax.random.split(jax.random.key(0), 400)
    rows = jnp.asarray(g, jnp.float32)
    made = np.asarray(jax.vmap(lambda key: sketch(rows, DIM, key))(keys), np.float64)
    found = made @ np.swapaxes(made, 1, 2)
    assert np.all(np.abs(found.mean(0) - true) < 4.5 * bound / np.sqrt(400))
    assert np.all(found.std(0) < 1.2 * bound)
    assert found.std(0).max() > 0.5 * bound.min()  # the bound is no idle one


@pytest.mark.thorough
def test_atoms_are_sketches_of_the_definition():
    key = jax.random.key(3)
    found = projected_gradients(loss, PARAMS, [(X, Y)], DIM, key=key)
    each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(PARAMS, X, Y)
    parts = [
        sketch(jnp.reshape(g, (N, -1)), DIM, jax.random.fold_in(key, i))
        for i, g in enumerate(jax.tree.leaves(each))
    ]
    np.testing.assert_allclose(found, sum(parts), atol=1e-4)


def test_the_same_loss_compiles_once():
    traced = []

    def held(scale, params, x, y):
        traced.append(1)
        return scale * loss(params, x, y)

    found = [
        projected_gradients(Partial(held, jnp.asarray(scale)), PARAMS, [(X, Y)], 64)
        for scale in (1.0, 2.0)
    ]
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-4, atol=1e-5)
    whole = projected_gradients(loss, PARAMS, [(X, Y)], 64)
    np.testing.assert_allclose(found[0], whole, rtol=1e-4, atol=1e-5)
    assert len(traced) == 1


def test_a_loss_without_a_hash_is_taken():
    class Loss:
        __hash__ = None

        def __call__(self, params, x, y):
            return loss(params, x, y)

    found = projected_gradients(Loss(), PARAMS, [(X, Y)], 64)
    np.testing.assert_array_equal(found, projected_gradients(loss, PARAMS, [(X, Y)], 64))


@pytest.mark.thorough
@LONG
def test_batches_and_memory_change_nothing():
    whole = projected_gradients(loss, PARAMS, [(X, Y)], 64)
    parts = [(X[i : i + 11], Y[i : i + 11]) for i in range(0, N, 11)]
    np.testing.assert_allclose(projected_gradients(loss, PARAMS, parts, 64), whole, atol=1e-4)
    size = 4 * sum(x.size for x in PARAMS.values())
    little = projected_gradients(loss, PARAMS, [(X, Y)], 64, memory=7 * size)
    np.testing.assert_allclose(little, whole, atol=1e-4)
    assert not np.allclose(projected_gradients(loss, PARAMS, [(X, Y)], 64, key=1), whole)


def test_a_batch_may_be_a_dict():
    def of_dict(params, batch):
        return loss(params, batch["x"], batch["y"])

    made = projected_gradients(of_dict, PARAMS, [{"x": X, "y": Y}], 64)
    assert np.array_equal(made, projected_gradients(loss, PARAMS, [(X, Y)], 64))


def test_chosen_parameters():
    def of_v(v, x, y):
        return loss({"w": PARAMS["w"], "v": v}, x, y)

    found = projected_gradients(of_v, PARAMS["v"], [(X, Y)], 4096)
    expected = jax.vmap(jax.grad(of_v), in_axes=(None, 0, 0))(PARAMS["v"], X, Y)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1), rtol=0.05
    )


@pytest.mark.thorough
@LONG
def test_a_selection_on_sketches_matches_the_true_gradient():
    atoms = projected_gradients(loss, PARAMS, [(X, Y)], 2048)
    chosen = select_subset(atoms, 20, lam=1e-3, lam_scale="relative")
    error = matching_error(dense(), chosen.indices, chosen.weights)
    drawn = [
        float(matching_error(dense(), RNG.choice(N, 20, replace=False), np.full(20, 2.0)))
        for _ in range(20)
    ]
    assert float(error) < 0.5 * np.median(drawn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((loss, PARAMS, []), "no examples"),
        ((loss, {}, [(X, Y)]), "no arrays"),
        ((loss, PARAMS, [(X, Y[:3])]), "rows; they must have as many"),
        ((lambda p, x, y: x, PARAMS, [(X, Y)]), "one number an example"),
        ((loss, PARAMS, [(X, Y * np.nan)]), "overflows"),
        ((loss, PARAMS, [(X, Y)], 0), "dim must be 1 or more"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        projected_gradients(*arguments)
