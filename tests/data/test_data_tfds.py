"""Sets prepared by TensorFlow Datasets, written by the test and read without TensorFlow."""

import sys

import jax
import numpy as np
import pytest

from gradmatch_jax.data import InputSource, load_dataset
from gradmatch_jax.errors import Stopped, UserError
from gradmatch_jax.grain import stream
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.loop import train
from toys import LONG

SETS = {
    "mnist": ("mnist", (28, 28, 1), ("train", "test")),
    "cifar10": ("cifar10", (32, 32, 3), ("train", "test")),
    "cifar100": ("cifar100", (32, 32, 3), ("train", "test")),
    "svhn": ("svhn_cropped", (32, 32, 3), ("train", "test", "extra")),
    "imagenet": ("imagenet2012", (40, 50, 3), ("train", "validation")),
}


def prepare(
    tfds, name: str, shape: tuple[int, int, int], splits: tuple[str, ...], data_dir
) -> None:
    """Prepare 30 rows a split under TFDS's own name: the shade of a picture is 20 x its label."""
    from PIL import Image
    from tensorflow_datasets.core import registered

    stock = tfds.builder_cls(name)

    def rows(split: str):
        for row in range(30):
            label = row % 10
            pixels = np.full(shape, 20 * label, np.uint8).squeeze()
            example = {"image": Image.fromarray(pixels), "label": label}
            example |= {"file_name": f"{row}.JPEG"} if "imagenet" in name else {}
            example |= {"id": f"{split}_{row}"} if "cifar" in name or "svhn" in name else {}
            example |= {"coarse_label": 3} if name == "cifar100" else {}
            yield f"{split}_{row}", example

    def generators(self, manager):
        if name == "cifar10":  # the stock builder, too, learns the names while preparing
            self.info.features["label"].names = [f"class {label}" for label in range(10)]
        return {split: rows(split) for split in splits}

    with registered.skip_registration():
        body = {
            "name": name,
            "_split_generators": generators,
            "_generate_examples": lambda self: iter(()),
        }
        builder = type("Small", (stock,), body)
    builder(data_dir=data_dir, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    reason = "the tfds extra is not installed"
    tfds = pytest.importorskip("tensorflow_datasets", reason=reason)
    pytest.importorskip("array_record", reason=reason)
    pytest.importorskip("PIL", reason=reason)
    data_dir = tmp_path_factory.mktemp("tfds")
    for name, (tfds_name, shape, splits) in SETS.items():
        if name != "cifar100":  # left out: what happens where nothing was prepared
            prepare(tfds, tfds_name, shape, splits, data_dir)
    return data_dir


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_small_sets_are_arrays(prepared, name):
    data = load_dataset(name, prepared, reader="tfds")
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 30)
    assert data.train.in_memory
    assert data.train.shape == SETS[name][1]
    assert np.bincount(data.test.labels).tolist() == [3] * 10
    for split in (data.train, data.validation, data.test):
        shades = np.asarray(split.inputs)[:, 3, 5, 0]
        np.testing.assert_array_equal(shades, 20 * split.labels)
    assert "tensorflow" not in sys.modules


def test_class_names_are_those_stored(prepared):
    data = load_dataset("cifar10", prepared, reader="tfds")
    assert data.class_names == tuple(f"class {label}" for label in range(10))


def test_imagenet_is_a_stream(prepared):
    data = load_dataset("imagenet", prepared, reader="tfds", image_size=24)
    assert isinstance(data.train.inputs, InputSource)
    assert data.train.shape == (28, 28, 3)  # what is cropped
    assert data.num_classes == len(data.class_names) == 1000
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 30)
    rows = np.array([5, 0, 5, 26])
    batch = data.train.take(rows)
    np.testing.assert_allclose(batch.mean((1, 2, 3)), 20 * data.train.labels[rows], atol=2)
    assert data.train.take(rows[:0]).shape == (0, 28, 28, 3)


def test_array_record_is_streamed_by_grain(prepared):
    """In the order of a key, gone on with mid-epoch, as the feed of `train` reads it."""
    pytest.importorskip("grain")
    source = load_dataset("imagenet", prepared, reader="tfds", image_size=24).train
    order = np.random.default_rng(0).permutation(len(source))
    whole = list(stream(source.inputs, order, 5, threads=3))
    np.testing.assert_array_equal(np.concatenate(whole), source.take(order))
    first = stream(source.inputs, order, 5)
    for batch in whole[:2]:
        np.testing.assert_array_equal(next(first), batch)
    again = stream(source.inputs, order, 5)
    again.set_state(first.get_state())
    np.testing.assert_array_equal(np.concatenate(list(again)), source.take(order[10:]))
    fed = [np.asarray(batch.pool) for batch in Feed(source).batches(order, 5)]
    np.testing.assert_array_equal(np.concatenate(fed), np.concatenate(whole))


@pytest.mark.thorough
def test_array_record_is_decoded_by_processes(prepared):
    pytest.importorskip("grain")
    source = load_dataset("imagenet", prepared, reader="tfds", image_size=24).train.inputs
    order = np.arange(len(source))[::-1].copy()
    batches = list(stream(source, order, 4, workers=2))
    np.testing.assert_array_equal(np.concatenate(batches), source.take(order))


@pytest.mark.thorough
@LONG
def test_a_run_trains_on_array_record_and_goes_on_within_an_epoch(prepared, tmp_path):
    def run(out, **more):
        asked = iter([False] * more.pop("until", 10**6))
        config = TrainConfig(
            dataset="imagenet", data_dir=prepared, reader="tfds", image_size=16, model="logistic",
            strategy="gradmatch-pb", fraction=0.5, epochs=2, batch_size=3, lr=0.001,
            checkpoint_seconds=0, checkpoint_steps=2,
        )  # fmt: skip
        return train(config, out, stop=lambda: next(asked, True), **more)

    wanted = run(tmp_path / "alone")
    with pytest.raises(Stopped, match="step 2 of epoch 0"):
        run(tmp_path / "left", until=1)
    found = run(tmp_path / "left")
    for a, b in zip(
        *(jax.tree.leaves(x.state.learner.variables.params) for x in (found, wanted)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_what_was_not_prepared_is_asked_for(prepared):
    with pytest.raises(
        UserError, match=r"\Atfds has no cifar100 [^\n]*run tfds build cifar100 [^\n]*\Z"
    ):
        load_dataset("cifar100", prepared, reader="tfds")
    with pytest.raises(UserError, match="does not exist; it should hold what `tfds build mnist"):
        load_dataset("mnist", prepared / "nowhere", reader="tfds")


def test_a_damaged_record_file(prepared):
    (path,) = prepared.glob("mnist/*/mnist-test.array_record-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"\Acannot read [^\n]*prepare it again[^\n]*\Z"):
        load_dataset("mnist", prepared, reader="tfds")
    path.write_bytes(whole)


@pytest.mark.parametrize("module", ["tensorflow_datasets", "PIL"])
def test_without_the_packages_an_extra_is_named(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"\A[^\n]*pip install 'gradmatch-jax\[\w+\]'\Z"):
        load_dataset("mnist", tmp_path, reader="tfds")
