"""Factored last-layer gradients against their definition and against dense NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradmatch_jax import gradients as gr
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.batches import batch_gram

N, C, E = 12, 4, 5


def cross_entropy(logits, label):
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def squared(logits, label):
    return 0.5 * jnp.sum((logits - jax.nn.one_hot(label, C)) ** 2) * (1.0 + 0.1 * logits[0])


def head(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    kernel, bias = jax.random.normal(keys[0], (E, C)), jax.random.normal(keys[1], (C,))
    features = jax.random.normal(keys[2], (N, E))
    return kernel, bias, features, jax.random.randint(keys[3], (N,), 0, C)


@pytest.fixture(scope="module")
def factored():
    rng = np.random.default_rng(0)
    residuals, features = rng.normal(size=(N, C)), rng.normal(size=(N, E))
    return LastLayerGradients(jnp.asarray(residuals, jnp.float32), jnp.asarray(features, "float32"))


def dense(gradients):
    """(n, C(1+E)) in float64, from the outer product alone."""
    residuals, features = (np.asarray(x, np.float64) for x in gradients)
    extended = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    return np.stack([np.outer(d, h).ravel() for d, h in zip(residuals, extended, strict=True)])


@pytest.mark.parametrize("loss", [None, cross_entropy, squared])
def test_factored_form_is_the_definition(loss):
    kernel, bias, features, labels = head()
    logits = features @ kernel + bias[None]
    factored = gr.last_layer_gradients(logits, features, labels, loss)
    expected = gr.gradients_by_definition(loss or cross_entropy, kernel, bias, features, labels)
    np.testing.assert_allclose(gr.densify(factored), expected, atol=1e-6, rtol=1e-6)
    assert expected.shape == (N, C * (1 + E))


def test_definition_is_the_derivative_of_the_loss():
    """Central differences in float64: neither autodiff nor the closed form."""
    kernel, bias, features, labels = (np.asarray(x) for x in head())
    computed = gr.gradients_by_definition(cross_entropy, *head())
    parameters = np.concatenate([bias[:, None], kernel.T], axis=1).astype(np.float64)

    def loss(parameters):
        logits = features @ parameters[:, 1:].T + parameters[:, 0]
        log_sum = np.log(np.exp(logits).sum(axis=1))
        return log_sum - logits[np.arange(N), labels]

    step = 1e-6
    for c, e in [(0, 0), (1, 3), (3, 5)]:
        bump = np.zeros_like(parameters)
        bump[c, e] = step
        slope = (loss(parameters + bump) - loss(parameters - bump)) / (2 * step)
        np.testing.assert_allclose(computed[:, c * (1 + E) + e], slope, atol=2e-6)


def test_saturated_logits_give_finite_gradients():
    logits = jnp.asarray([[1e4, -1e4], [-1e4, 1e4]])
    g = gr.last_layer_gradients(logits, jnp.ones((2, 3)), jnp.asarray([0, 0]))
    np.testing.assert_array_equal(g.residuals, [[0, 0], [-1, 1]])


def test_densify_gram_sums_and_correlations(factored):
    atoms, weights = dense(factored), np.linspace(-1, 2, N)
    target = np.random.default_rng(1).normal(size=(C, 1 + E))
    w, t = jnp.asarray(weights, jnp.float32), jnp.asarray(target, jnp.float32)
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(gr.densify(factored), atoms, **close)
    summed = (weights @ atoms).reshape(C, 1 + E)
    for form, shape in [(factored, (C, 1 + E)), (jnp.asarray(atoms, jnp.float32), (C * (1 + E),))]:
        np.testing.assert_allclose(gr.gram(form), atoms @ atoms.T, **close)
        np.testing.assert_allclose(gr.weighted_sum(form, w), summed.reshape(shape), **close)
        found = gr.correlations(form, t.reshape(shape))
        np.testing.assert_allclose(found, atoms @ target.ravel(), **close)


@pytest.mark.thorough
def test_leading_batch_axes(factored):
    """Groups are stacked on a leading axis; each must be treated alone."""
    rows = jnp.asarray([[0, 3, 5], [7, 1, 2]])
    atoms = gr.take(factored, rows)
    weights = jnp.asarray([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])
    target = gr.weighted_sum(atoms, weights)
    for i in range(2):
        alone = gr.take(factored, rows[i])
        np.testing.assert_allclose(gr.gram(atoms)[i], gr.gram(alone), rtol=1e-6)
        summed = gr.weighted_sum(alone, weights[i])
        np.testing.assert_allclose(target[i], summed, rtol=1e-5, atol=1e-6)
        found = gr.correlations(atoms, target)[i]
        np.testing.assert_allclose(found, gr.correlations(alone, summed), rtol=1e-5, atol=1e-5)


def test_class_sums(factored):
    labels = np.arange(N) % 3  # class 3 is absent
    found = gr.class_sums(factored, jnp.asarray(labels), C)
    atoms = dense(factored)
    for c in range(C):
        expected = atoms[labels == c].sum(axis=0).reshape(C, 1 + E)
        np.testing.assert_allclose(found[c], expected, atol=1e-5)
    assert not np.any(found[3])


def test_per_gradient_is_the_own_column_of_the_dense_gradient(factored):
    labels = np.arange(N) % C
    cut = gr.per_gradient(factored, jnp.asarray(labels))
    own = dense(factored).reshape(N, C, 1 + E)[np.arange(N), labels]
    np.testing.assert_allclose(gr.densify(cut), own, rtol=1e-6)


# Batches of 4, 3 and 1, the padding in several places.
BATCHES = np.array([[0, 5, 7, 11], [2, 1, 3, -1], [4, -1, -1, -1]])


@pytest.mark.parametrize("classes_a_block", [1, 2, 3, C, 100])
def test_batch_gram_of_means(factored, classes_a_block):
    atoms = dense(factored)
    means = np.stack([atoms[b[b >= 0]].mean(axis=0) for b in BATCHES])
    target = np.random.default_rng(2).normal(size=(C, 1 + E))
    block_bytes = 4 * len(BATCHES) * (1 + E) * classes_a_block
    gram, correlations = batch_gram(
        factored,
        jnp.asarray(BATCHES),
        jnp.asarray(target, jnp.float32),
        block_bytes=block_bytes,
    )
    np.testing.assert_allclose(gram, means @ means.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(correlations, means @ target.ravel(), rtol=1e-5, atol=1e-6)


def test_batch_gram_ignores_what_lies_behind_the_padding(factored):
    """-1 reads the last example: it must not leak into the means."""
    target = jnp.ones((C, 1 + E))
    first = batch_gram(factored, jnp.asarray(BATCHES[1:]), target)
    spoilt = LastLayerGradients(*(x.at[-1].set(1e3) for x in factored))
    second = batch_gram(spoilt, jnp.asarray(BATCHES[1:]), target)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_matching_error(factored):
    atoms = dense(factored)
    indices, weights = np.array([3, 8, 0, -1, -1]), np.array([2.0, 0.5, 4.0, 9.0, 0.0])
    chosen = weights[:3] @ atoms[indices[:3]]
    i, w = jnp.asarray(indices), jnp.asarray(weights, jnp.float32)
    whole = atoms.sum(axis=0)
    expected = np.linalg.norm(chosen - whole) / np.linalg.norm(whole)
    as_dense = jnp.asarray(atoms, jnp.float32)
    for form in (factored, as_dense):
        np.testing.assert_allclose(gr.matching_error(form, i, w), expected, rtol=1e-5)
    target = np.random.default_rng(3).normal(size=(C, 1 + E))
    found = gr.matching_error(factored, i, w, jnp.asarray(target, jnp.float32))
    expected = np.linalg.norm(chosen - target.ravel()) / np.linalg.norm(target)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_matching_error_of_a_zero_target_is_the_norm(factored):
    i, w, zero = jnp.asarray([3]), jnp.asarray([2.0]), jnp.zeros((C, 1 + E))
    found = gr.matching_error(factored, i, w, zero)
    np.testing.assert_allclose(found, 2 * np.linalg.norm(dense(factored)[3]), rtol=1e-5)
    assert gr.matching_error(factored, i, jnp.zeros(1), zero) == 0
