"""Tables, texts, float images and streams of them go through `train` as images do."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data import Dataset, Split, Standardise, load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.models.spec import InputSpec
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.feed import Feed, default_model, input_spec
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.presets import model_for
from toys import LONG, Stream, as_streams, mostly_long, needs_grain

Y = np.arange(30) % 3


@pytest.fixture(scope="module")
def cancer(tmp_path_factory):
    """scikit-learn's breast cancer, 30 columns of very different scales, as an .npz file."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    rest, test = order[:400], order[400:]
    path = tmp_path_factory.mktemp("cancer") / "cancer.npz"
    np.savez(path, x_train=x[rest], y_train=y[rest], x_test=x[test], y_test=y[test])
    return path


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("gradmatch", {"select_every": 10}),
        pytest.param("adaptive-random", {}, marks=LONG),
        pytest.param("el2n", {"proxy_epochs": 2}, marks=LONG),
    ],
)
def test_a_table_trains(cancer, strategy, settings, tmp_path):
    config = TrainConfig(
        dataset="npz", data_dir=cancer, strategy=strategy, fraction=0.3, epochs=20, **settings
    )
    summary = train(config, tmp_path / "run").summary
    assert summary["model"] == "mlp"
    # Guessing the larger class gives 63 %, scikit-learn's logistic regression 97.
    assert summary["test_accuracy"] > 90
    assert json.loads((tmp_path / "run" / "result.json").read_text())["model"] == "mlp"


@pytest.mark.thorough
def test_texts_train(shared_data):
    config = TrainConfig(
        dataset="tsv", data_dir=shared_data / "text" / "trec", strategy="gradmatch", fraction=0.1,
        epochs=6, select_every=3,
    )  # fmt: skip
    summary = train(config).summary
    assert summary["model"] == "embedding-bag"
    labels = load_dataset("tsv", shared_data / "text" / "trec").test.labels
    assert 100 * np.bincount(labels).max() / 500 == pytest.approx(27.6)  # the best guess
    assert summary["test_accuracy"] > 45


@pytest.mark.thorough
@LONG
def test_float_digits_are_the_uint8_ones(tmp_path):
    digits = load_dataset("digits")
    accuracy = {}
    for name, divisor in (("uint8", None), ("float", 255.0)):
        arrays = {}
        for part, split in (("train", digits.train), ("test", digits.test)):
            x = split.take(np.arange(len(split)))
            arrays |= {f"x_{part}": x if divisor is None else x / divisor}
            arrays |= {f"y_{part}": split.labels}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        config = TrainConfig(
            dataset="npz", data_dir=tmp_path / f"{name}.npz", model="mlp", strategy="gradmatch",
            fraction=0.2, epochs=10, select_every=5,
        )  # fmt: skip
        accuracy[name] = train(config).summary["test_accuracy"]
    assert accuracy["uint8"] > 75
    assert abs(accuracy["uint8"] - accuracy["float"]) < 2


def sines(n=30):
    return np.sin(np.arange(4 * n).reshape(n, 4)).astype(np.float32)


@pytest.mark.thorough
def test_a_stream_of_vectors_trains_as_the_array_does():
    needs_grain()
    data = Dataset.from_arrays("waves", sines(), Y, sines(), Y)
    streamed = as_streams(data)
    config = TrainConfig(strategy="gradmatch", fraction=0.3, epochs=3, select_every=2, model="mlp")
    results = [train(config, dataset=d) for d in (data, streamed)]
    assert results[0].log[-1]["train_loss"] == results[1].log[-1]["train_loss"]
    jax.tree.map(np.testing.assert_array_equal, *(r.state.learner for r in results))


def test_the_default_model_follows_the_inputs():
    tokens = Dataset.from_arrays("own", *[np.ones((30, 4), int), Y] * 2)
    table = Dataset.from_arrays("own", *[sines(), Y] * 2)
    pictures = Dataset.from_arrays("own", *[np.ones((30, 8, 8), np.uint8), Y] * 2)
    found = [default_model(d) for d in (tokens, table, pictures, load_dataset("digits"))]
    assert found == ["embedding-bag", "mlp", "lenet", "mlp"]


def test_few_or_small_pictures_get_a_small_network():
    """As the paper's choices go: MNIST's LeNet, CIFAR's ResNet-18."""
    sizes = {(54_000, 28, 1): "lenet", (45_000, 32, 3): "resnet18", (9_999, 224, 3): "lenet",
             (10_000, 64, 3): "resnet18", (27, 8, 1): "lenet"}  # fmt: skip
    for (n, side, channels), model in sizes.items():
        assert model_for("images", n, side * side * channels) == model
    assert model_for("vectors", 10**6, 10**4) == "mlp"


def flatten(key, raw):
    """A prepare of one's own: it may change the shape and the type."""
    return raw.reshape(raw.shape[0], -1).astype(jnp.float32) / 255.0


@pytest.mark.thorough
def test_the_model_sees_what_prepare_makes():
    x = np.ones((30, 2, 3), np.uint8)
    data = Dataset.from_arrays("own", x, Y, x, Y, prepare=flatten)
    assert input_spec(data) == InputSpec((6,), "float32", 0)
    assert default_model(data) == "mlp"
    config = TrainConfig(strategy="gradmatch", fraction=0.3, epochs=1, model="mlp")
    assert train(config, dataset=data).summary["train_size"] == 27
    tokens = Dataset.from_arrays("own", *[np.full((30, 4), 6), Y] * 2)
    assert input_spec(tokens) == InputSpec((4,), "int32", 7)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
def test_a_feed_keeps_the_type(dtype):
    needs_grain()
    x = np.ones((5, 2), dtype)
    split = Split(x, np.zeros(5, np.int32))
    for feed in (Feed(split), Feed(Split(Stream(x), split.labels))):
        batch = next(feed.batches(np.arange(3), 2))
        assert batch.pool.dtype == dtype


def test_a_model_for_images_refuses_a_table_before_training(cancer):
    config = TrainConfig(dataset="npz", data_dir=cancer, model="lenet")
    with pytest.raises(UserError, match=r"lenet takes images, not vectors .*: mlp, logistic"):
        train(config)


def test_steps_of_two_sets_prepared_alike_are_the_same():
    from gradmatch_jax.models import build_model
    from gradmatch_jax.training.steps import make_steps

    settings = {"momentum": 0.9, "weight_decay": 0.0, "augmented": False}
    model = build_model("mlp", (4,), 3)
    one, again = (Dataset.from_arrays(name, *[sines(), Y] * 2) for name in "ab")
    assert one.prepare == again.prepare
    assert make_steps(model, one, **settings) is make_steps(model, again, **settings)
    other = Dataset.from_arrays("c", *[sines(), Y] * 2, prepare=Standardise((0.0,), (2.0,)))
    assert make_steps(model, one, **settings) is not make_steps(model, other, **settings)


@pytest.mark.parametrize("kind", mostly_long(["table", "images"], "images"))
def test_another_mean_and_scale_are_used_and_compile_nothing(kind):
    """Each seed's split has its own; a sweep over seeds would compile everything for each."""
    from gradmatch_jax.measure.clock import compile_seconds
    from gradmatch_jax.models import build_model
    from gradmatch_jax.training.feed import input_spec
    from gradmatch_jax.training.steps import make_steps

    rng = np.random.default_rng(0)
    x = {
        "table": sines(),
        "images": rng.integers(0, 256, (len(Y), 8, 8, 1), dtype=np.uint8),
    }[kind]
    one = Dataset.from_arrays("a", x, Y, x, Y)
    prepare: Any = one.prepare
    shifted = dataclasses.replace(prepare, mean=(0.7,) * x.shape[-1])
    other = dataclasses.replace(one, prepare=shifted)
    model = build_model("mlp", input_spec(one).shape, 3)
    key = jax.random.key(0)

    def outputs(dataset):
        steps = make_steps(model, dataset, momentum=0.9, weight_decay=0.0, augmented=True)
        learner = steps.init(key)
        pool, rows = jnp.asarray(x), np.arange(5)
        weights = np.ones(5, np.float32)
        start = steps.predict(learner.variables, x[None], 1)
        norms = steps.gradient_norms(learner.variables, pool, Y[:5], rows)
        learner, _ = steps.train(learner, pool, Y[:5], rows, weights, np.float32(0.1), key, 0)
        return [np.asarray(v) for v in (start[0], norms, *jax.tree.leaves(learner.variables))]

    def expected(prepare):
        variables = model.init(key)
        return np.asarray(model.apply(variables, prepare(None, jnp.asarray(x)), False)[0])

    first = outputs(one)
    with compile_seconds() as read:
        second = outputs(other)
    assert read() == 0.0
    assert all(np.any(a != b) for a, b in zip(first, second, strict=True))
    for found, dataset in ((first, one), (second, other)):
        np.testing.assert_allclose(found[0], expected(dataset.prepare), rtol=1e-5, atol=1e-5)
