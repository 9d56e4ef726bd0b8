"""ImageNet's folder layout: the Imagenette sample, and small trees of our own."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data import InputSource, load_dataset
from gradmatch_jax.data.augment import centre_crop
from gradmatch_jax.errors import UserError

Image = pytest.importorskip("PIL.Image", reason="the imagenet extra (Pillow) is not installed")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Three classes of flat pictures of many shapes, the shade of each 80 x its class + 10."""
    rng = np.random.default_rng(0)
    for part, rows in (("train", 10), ("val", 2)):
        for label, name in enumerate(["n01", "n02", "n03"]):
            for row in range(rows):
                height, width = rng.integers(20, 90, 2)
                pixels = np.full((height, width, 3), 80 * label + 10, np.uint8)
                save(tmp_path / part / name / f"{name}_{row}.JPEG", pixels)
    return tmp_path


def test_the_imagenette_sample(shared_data):
    data = load_dataset("imagenet", shared_data / "imagenette-mini", image_size=64)
    assert (len(data.train), len(data.validation), len(data.test)) == (180, 20, 50)
    assert np.bincount(data.train.labels).tolist() == [18] * 10
    assert data.class_names[0] == "n01440764"
    assert data.num_classes == 10
    assert (data.prepare.crop_padding, data.prepare.flip, data.prepare.side) == (0, True, 64)
    assert isinstance(data.train.inputs, InputSource)
    assert data.train.shape == (74, 74, 3)  # what is cropped
    batch = data.train.take(np.arange(180))  # every picture decodes, the grey ones too
    assert batch.shape == (180, 74, 74, 3)
    assert batch.dtype == np.uint8
    # natural pictures: near ImageNet's mean, and none of them blank
    np.testing.assert_allclose(batch.mean((0, 1, 2)) / 255, data.prepare.mean, atol=0.08)
    assert batch.std((1, 2, 3)).min() > 5


def test_take_is_a_pure_function_of_indices(shared_data):
    train = load_dataset("imagenet", shared_data / "imagenette-mini", image_size=32).train
    rows = np.array([7, 0, 7, 150])
    batch = train.take(rows)
    np.testing.assert_array_equal(batch, train.take(rows))
    np.testing.assert_array_equal(batch[0], batch[2])
    for row, image in zip(rows, batch, strict=True):
        np.testing.assert_array_equal(train.take(np.array([row]))[0], image)
    np.testing.assert_array_equal(train.subset(rows).take(np.array([3, 1])), batch[[3, 1]])


def test_labels_follow_the_pictures(tree):
    data = load_dataset("imagenet", tree, image_size=16)
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 6)
    for split in (data.train, data.validation, data.test):
        shades = split.take(np.arange(len(split))).mean((1, 2, 3))
        np.testing.assert_allclose(shades, 80.0 * split.labels + 10, atol=2)


@pytest.mark.parametrize("shape", [(64, 128), (128, 64), (128, 128), (20, 31), (1, 3)])
def test_the_centre_is_cut_after_the_shorter_side_is_resized(tree, shape):
    """A horizontal and a vertical ramp say where each output pixel came from."""
    size, shorter = 28, 32
    height, width = shape
    ramp_x = np.tile(np.linspace(0, 255, width), (height, 1))
    ramp_y = np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    pixels = np.stack([ramp_x, ramp_y, np.zeros(shape)], -1).round().astype(np.uint8)
    for old in (tree / "val" / "n01").iterdir():
        old.unlink()
    save(tree / "val" / "n01" / "ramp.png", pixels)
    taken = load_dataset("imagenet", tree, image_size=size).test.take(np.array([0]))
    assert taken.shape == (1, shorter, shorter, 3)
    result = np.asarray(centre_crop(jnp.asarray(taken), size))[0]
    assert result.shape == (size, size, 3)
    for channel, length in ((0, width), (1, height)):
        resized = round(length * shorter / min(shape))  # a whole number, so each axis has its scale
        scale, start = resized / length, (resized - size) // 2
        centres = (np.arange(start, start + size) + 0.5) / scale - 0.5  # in the original's pixels
        profile = result[..., channel].mean(0 if channel == 0 else 1)
        # within a filter's reach of the picture's edge the ramp bends; elsewhere it is exact
        # but for rounding to whole levels, once in the picture and twice in the resizing
        reach = max(1.0, 1 / scale)
        inside = (centres > reach) & (centres < length - 1 - reach)
        assert inside.sum() >= (size // 2 if length > 3 else 0)
        expected = centres[inside] / max(length - 1, 1) * 255
        assert np.abs(profile[inside] - expected).max(initial=0) < 1.5
    assert result[..., 2].max() == 0


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA", "I;16"])
def test_every_mode_becomes_rgb(tree, mode):
    path = tree / "val" / "n01" / ("a.png" if mode != "CMYK" else "a.jpg")
    if mode == "I;16":
        Image.fromarray(np.full((40, 40), 200, np.uint16)).save(path)
    else:
        Image.new("RGB", (40, 40), (200, 200, 200)).convert(mode).save(path)
    test = load_dataset("imagenet", tree, image_size=16).test
    assert test.take(np.arange(len(test))).shape == (7, 18, 18, 3)


def test_a_damaged_picture_is_named(tree):
    path = tree / "val" / "n02" / "n02_0.JPEG"
    whole = path.read_bytes()
    for content in (b"", b"not a picture", whole[: len(whole) // 2]):
        path.write_bytes(content)
        test = load_dataset("imagenet", tree, image_size=16).test
        with pytest.raises(UserError, match=r"\Acannot decode [^\n]*n02_0.JPEG: [^\n]*\Z"):
            test.take(np.arange(len(test)))


def test_folders_that_are_missing_or_empty(tree):
    (tree / "train" / "n04").mkdir()
    with pytest.raises(UserError, match=r"n04 has no pictures \(\.jpeg, \.jpg, \.png\)"):
        load_dataset("imagenet", tree)
    (tree / "train" / "n04").rmdir()
    save(tree / "val" / "n09" / "a.JPEG", np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(UserError, match="val has 1 classes that train lacks: n09"):
        load_dataset("imagenet", tree)
    with pytest.raises(UserError, match=r"data directory \S*train\S* does not exist"):
        load_dataset("imagenet", tree / "train")


def test_a_flat_validation_folder_is_explained(tree):
    for folder in (tree / "val").iterdir():
        for picture in folder.iterdir():
            picture.rename(tree / "val" / picture.name)
        folder.rmdir()
    with pytest.raises(UserError, match="val has no class folders; sort its pictures into"):
        load_dataset("imagenet", tree)


def test_without_pillow_the_extra_is_named(tree, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"pip install 'gradmatch-jax\[imagenet\]'"):
        load_dataset("imagenet", tree)
