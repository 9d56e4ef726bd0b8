"""Models of other inputs than images: the embedding bag, flat floats, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.models import build_model
from gradmatch_jax.models.spec import InputSpec

TEXT = InputSpec((6,), "int32", vocabulary=11)
TOKENS = np.array([[3, 5, 3, 0, 0, 0], [1, 2, 4, 6, 8, 10], [0, 0, 0, 0, 0, 0]], np.int32)


@pytest.fixture(scope="module")
def bag():
    model = build_model("embedding-bag", TEXT, 4)
    return model, model.init(jax.random.key(0))


def test_the_embedding_bag_is_its_formula(bag):
    model, variables = bag
    logits, features, stats = model.apply(variables, jnp.asarray(TOKENS), True)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables.params)
    words = p["words"]["embedding"]
    assert words.shape == (11, 64)
    means = np.stack([words[[3, 5, 3]].mean(0), words[TOKENS[1]].mean(0), np.zeros(64)])
    hidden = np.maximum(means @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    np.testing.assert_allclose(features, hidden, atol=1e-5)
    np.testing.assert_allclose(logits, hidden @ p["head"]["kernel"] + p["head"]["bias"], atol=1e-5)
    assert (logits.dtype, features.shape) == (jnp.float32, (3, 128))
    assert not jax.tree.leaves(stats)


def test_padding_changes_nothing_and_learns_nothing(bag):
    model, variables = bag
    longer = np.pad(TOKENS, ((0, 0), (0, 5)))
    for a, b in zip(
        model.apply(variables, jnp.asarray(TOKENS), False)[:2],
        model.apply(variables, jnp.asarray(longer), False)[:2],
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)

    def total(params):
        return jnp.sum(model.apply(variables._replace(params=params), jnp.asarray(TOKENS), True)[0])

    gradient = jax.grad(total)(variables.params)["words"]["embedding"]
    assert not np.any(gradient[0])
    assert np.any(gradient[3])
    assert not np.any(gradient[7]), "a word that no text has"


def test_bfloat16_computes_about_the_same(bag):
    model, variables = bag
    half = build_model("embedding-bag", TEXT, 4, bf16=True)
    logits = half.apply(variables, jnp.asarray(TOKENS), False)[0]
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(
        logits, model.apply(variables, jnp.asarray(TOKENS), False)[0], atol=0.05
    )


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mlp", "logistic"])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 2), (2, 3), (2, 2, 2, 2)])
def test_floats_of_any_shape(name, shape):
    model = build_model(name, shape, 3)
    x = jax.random.normal(jax.random.key(1), (5, *shape))
    variables = model.init(jax.random.key(0))
    logits, features, _ = model.apply(variables, x, False)
    flat = model.apply(variables, x.reshape(5, -1), False)[0]
    assert (logits.shape, len(features)) == ((5, 3), 5)
    np.testing.assert_array_equal(logits, flat)


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("lenet", (30,), r"lenet takes images, not vectors of shape \(30,\); .*: mlp, logistic\Z"),
        ("resnet18", TEXT, r"takes images, not tokens of shape \(6,\); .*: embedding-bag\Z"),
        ("mlp", TEXT, r"mlp takes images or vectors, not tokens .*: embedding-bag\Z"),
        ("embedding-bag", (8, 8, 1), "takes tokens, not images .*: lenet, mnistnet, mlp,"),
        ("mlp", (), "must have a shape of positive sizes"),
    ],
)
def test_a_model_for_other_inputs_names_those_that_fit(name, inputs, message):
    with pytest.raises(UserError, match=message) as error:
        build_model(name, inputs, 3)
    assert "\n" not in str(error.value)
