"""Passes of Flax NNX, Linen, Equinox and plain functions: the same numbers by each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from gradmatch_jax import linen_forward, nnx_forward, split_forward
from gradmatch_jax.errors import UserError

X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.body = nnx.List([nnx.Linear(3, 6, rngs=rngs)])
        self.norm, self.drop = nnx.BatchNorm(6, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.top = nnx.Sequential(nnx.Linear(6, 2, rngs=rngs), jax.nn.log_softmax)
        self.outer = nnx.Linear(2, 2, rngs=rngs)

    def __call__(self, x):
        return self.outer(self.top(self.drop(self.norm(nnx.relu(self.body[0](x))))))


class Wrapped(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(4, name="last")(x)


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(6)(x))
        x = linen.Dropout(0.5, deterministic=not train)(linen.relu(x))
        return linen.log_softmax(Wrapped(name="top")(x))


@pytest.mark.thorough
@pytest.mark.parametrize("rows", [None, [7, 3, 22, 0]])
def test_nnx(rows):
    model = Net(nnx.Rngs(0))
    model.train()
    head = model.outer
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    forward = nnx_forward(model, head, X, batch_size=5)
    logits, features = forward(rows)
    assert model.outer is head
    assert not model.drop.deterministic
    jax.tree.map(
        np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(model, nnx.Param))
    )
    model.eval()
    part = X if rows is None else X[rows]
    np.testing.assert_allclose(logits, model(part), atol=1e-6)
    np.testing.assert_allclose(head(features), logits, atol=1e-6)
    head.bias[...] = head.bias[...] + 1.0  # it is read when the pass is made
    np.testing.assert_allclose(forward(rows)[0], logits + 1.0, atol=1e-5)


def test_linen():
    module = LinenNet()
    given = module.init(jax.random.key(0), X, False)
    forward = linen_forward(module, "top/last", lambda: given, X, batch_size=8, train=False)
    logits, features = forward()
    np.testing.assert_allclose(jax.nn.log_softmax(logits), module.apply(given, X, False), atol=1e-6)
    params = given["params"]["top"]["last"]
    np.testing.assert_allclose(
        features @ params["kernel"] + params["bias"][None], logits, atol=1e-6
    )
    assert (features >= 0).all()


def test_equinox():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0))
    body, head = eqx.nn.Linear(3, 6, key=keys[0]), eqx.nn.Linear(6, 2, key=keys[1])
    forward = split_forward(
        eqx.filter_jit(jax.vmap(lambda x: jax.nn.relu(body(x)))), jax.vmap(head), X, batch_size=4
    )
    logits, features = forward()
    expected = jax.nn.relu(X @ body.weight.T + body.bias[None])
    np.testing.assert_allclose(features, expected, atol=1e-6)
    np.testing.assert_allclose(logits, expected @ head.weight.T + head.bias[None], atol=1e-6)


def test_trees_of_inputs():
    inputs = {"a": X, "b": X + 1}
    logits, _ = split_forward(lambda v: v["a"] + v["b"], jnp.sin, inputs, batch_size=9)()
    np.testing.assert_allclose(logits, np.sin(2 * X + 1), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nnx_forward(Net(nnx.Rngs(0)), nnx.Linear(2, 2, rngs=nnx.Rngs(0)), X), "no part"),
        (lambda: linen_forward(LinenNet(), "head", dict, X, train=False), None),
        (lambda: split_forward(jnp.sin, jnp.cos, 3.0), "n rows"),
        (lambda: split_forward(jnp.sin, jnp.cos, X, batch_size=0), "batch_size must be 1"),
        (lambda: linen_forward(LinenNet(), "head", {}, X), "variables must be a function"),
    ],
)
def test_what_cannot_be_is_said(make, message):
    if message is None:
        given = LinenNet().init(jax.random.key(0), X, False)
        forward = linen_forward(LinenNet(), "head", lambda: given, X, train=False)
        make, message = forward, "head ran 0 times"
    with pytest.raises(UserError, match=message):
        make()
