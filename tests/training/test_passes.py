"""Passes over the data: logits and features in order, gradient norms, accuracy."""

import jax
import numpy as np
import pytest

from gradmatch_jax.data import Split
from gradmatch_jax.data.prepare import together
from gradmatch_jax.errors import UserError
from gradmatch_jax.models.model import Variables
from gradmatch_jax.training import steps as made
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, collect_gradient_norms, evaluate, scans
from gradmatch_jax.training.steps import Learner
from linear_problem import CLASSES, inputs, linear_data, linear_steps
from toys import Stream, needs_grain


@pytest.fixture(scope="module")
def data():
    return linear_data()


@pytest.fixture(scope="module")
def steps(data):
    return linear_steps(data)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("batch_size", [None, 1, 5, 8, 23, 100])
def test_collect_answers_in_order(steps, data, streamed, batch_size):
    if streamed:
        needs_grain()
    feed = Feed(Split(Stream(data.train.inputs), data.train.labels) if streamed else data.train)
    variables = steps.init(jax.random.key(5)).variables
    logits, features = collect(steps, variables, feed, batch_size=batch_size)
    x = inputs(data.train.inputs)
    np.testing.assert_allclose(features, x, rtol=1e-5, atol=1e-6)
    expected = x @ np.asarray(variables.params["W"], np.float64)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_collect_keeps_what_it_is_told_to(steps, data, dtype):
    variables, feed = steps.init(jax.random.key(5)).variables, Feed(data.train)
    found = collect(steps, variables, feed, batch_size=5, dtype=dtype)
    for kept, whole in zip(found, collect(steps, variables, feed, batch_size=5), strict=True):
        assert kept.dtype == dtype
        np.testing.assert_array_equal(kept, whole.astype(dtype))


def test_numbers_that_float16_does_not_reach(steps, data):
    variables = steps.init(jax.random.key(5)).variables
    params = {**variables.params, "b": jax.numpy.asarray([1e5, 0.0, 0.0])}
    variables = variables._replace(params=params)
    with pytest.raises(UserError, match="beyond float16, which ends at 65,504: use"):
        collect(steps, variables, Feed(data.train), batch_size=5, dtype="float16")
    collect(steps, variables, Feed(data.train), batch_size=5, dtype="bfloat16")


@pytest.mark.parametrize("memory", [1, 4 * 4 * 51, 2**28])
def test_gradient_norms_of_all_parameters(steps, data, memory):
    """The linear model's gradient is delta ⊗ [1, x]: its norm is ‖delta‖ sqrt(1 + ‖x‖²)."""
    variables = steps.init(jax.random.key(5)).variables
    norms = collect_gradient_norms(steps, variables, Feed(data.train), memory=memory)
    x = inputs(data.train.inputs)
    logits = x @ np.asarray(variables.params["W"], np.float64)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    delta = probability - np.eye(CLASSES)[data.train.labels]
    expected = np.linalg.norm(delta, axis=1) * np.sqrt(1 + (x**2).sum(axis=1))
    np.testing.assert_allclose(norms, expected, rtol=1e-4)


def test_accuracy_in_percent(steps, data):
    variables = steps.init(jax.random.key(5)).variables
    best = np.argmax(inputs(data.test.inputs) @ np.asarray(variables.params["W"]), axis=1)
    expected = 100 * np.mean(best == data.test.labels)
    assert evaluate(steps, variables, Feed(data.test)) == pytest.approx(expected)
    right = Split(data.test.inputs, best.astype(np.int32))
    assert evaluate(steps, variables, Feed(right)) == 100.0


def test_a_pass_compiles_its_network_once_for_every_size(data, monkeypatch):
    """The last call does the batches that are left, whatever their number."""
    steps, traced, programs = linear_steps(data), [], []
    variables = steps.init(jax.random.key(5)).variables
    whole, _ = collect(steps, variables, Feed(data.train), batch_size=1)

    def seen(*parts):
        programs.append(parts)
        return together(*parts)

    monkeypatch.setattr(made, "together", seen)

    def counted(*arguments):
        traced.append(arguments[1].shape)
        return steps.predict(*arguments)

    for n in (1, 7, 9, 22):
        part, _ = collect(
            steps._replace(predict=counted), variables, Feed(data.train),
            rows=np.arange(n), batch_size=1,
        )  # fmt: skip
        np.testing.assert_array_equal(part, whole[:n])
    assert len(set(traced)) == 1
    assert not programs, "none was traced anew"
    collect(steps, variables, Feed(data.train), batch_size=2)
    assert programs, "for other shapes it is: this would have been seen"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator scans whatever it is")
def test_on_a_cpu_small_steps_of_dense_layers_go_many_to_a_call(data):
    def learner(*shapes):
        return Learner(Variables([np.zeros(shape, np.float32) for shape in shapes], {}), ())

    feed = Feed(data.train)
    assert scans(learner((64, 128), (128,)), feed, 20)
    assert not scans(learner((3, 3, 1, 4), (4,)), feed, 20), "a convolution"
    assert not scans(learner((64, 2**15)), feed, 20), "its launch is little of it"
    assert not scans(learner((64, 128)), feed, 5000)
    needs_grain()
    stream = Feed(Split(Stream(data.train.inputs), data.train.labels))
    assert not scans(learner((64, 128)), stream, 20)
