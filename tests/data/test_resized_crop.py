"""ImageNet's random resized crops: each against Pillow, the boxes against their distribution."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.augment import centre_crop, crop_box, random_resized_crop, resized_box
from gradmatch_jax.data.prepare import ImagePrepare
from toys import mostly_long

Image = pytest.importorskip("PIL.Image", reason="the imagenet extra (Pillow) is not installed")
SIDE = 24
# As training has them: eagerly each of their operations is compiled by itself.
RESIZED = jax.jit(resized_box, static_argnums=2)
DRAWN = jax.jit(jax.vmap(crop_box, in_axes=(0, None, None)), static_argnums=(1, 2))
PREPARED = jax.jit(lambda prepare, key, raw: prepare(key, raw), static_argnums=0)


@pytest.fixture(scope="module")
def picture():
    """A smooth part and a noisy one, wider than high."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 40 * 50 * 3).reshape(40, 50, 3)
    ramp[:, 25:] = rng.integers(0, 256, (40, 25, 3))
    return ramp.astype(np.uint8)


def by_pillow(picture, box, side=SIDE):
    top, left, height, width = box
    cut = Image.fromarray(picture).crop((left, top, left + width, top + height))
    return np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))


BOXES = [(0, 0, 40, 50), (3, 7, 24, 24), (5, 0, 35, 12), (0, 30, 9, 20), (39, 49, 1, 1),
         (11, 13, 2, 3), (10, 1, 30, 49)]  # fmt: skip


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_a_box_is_resized_as_pillow_does(picture, box):
    made = RESIZED(jnp.asarray(picture), jnp.asarray(box, jnp.int32), SIDE)
    assert made.dtype == jnp.uint8
    # Pillow rounds after each axis, with weights of 22 bits; here it is once.
    away = np.abs(np.asarray(made, int) - by_pillow(picture, box).astype(int))
    assert away.max() <= 1
    assert away.mean() < 0.3


def test_floats_are_not_rounded(picture):
    box = jnp.asarray((2, 3, 30, 20), jnp.int32)
    made = RESIZED(jnp.asarray(picture, jnp.float32), box, SIDE)
    whole = RESIZED(jnp.asarray(picture), box, SIDE)
    np.testing.assert_array_equal(np.round(np.asarray(made)), np.asarray(whole, np.float32))
    assert np.any(np.asarray(made) % 1)


def boxes(height, width, count=4000):
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(DRAWN(keys, height, width))


def plain_box(rng, height, width):
    """Torchvision's rule, a draw at a time."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    return None


@pytest.mark.parametrize("shape", mostly_long([(256, 256), (60, 90)], (60, 90)))
def test_boxes_are_drawn_as_by_a_loop(shape):
    drawn, rng = boxes(*shape), np.random.default_rng(2)
    plain = np.array([plain_box(rng, *shape) for _ in range(4000)])
    top, left, h, w = drawn.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= shape[0]).all()
    assert (left + w <= shape[1]).all()
    area, ratio = h * w / (shape[0] * shape[1]), w / h
    assert 0.07 < area.min() < 0.1
    assert area.max() > 0.85
    assert 0.72 < ratio.min() < 0.78
    assert 1.28 < ratio.max() < 1.38
    for axis in range(4):
        assert stats.ks_2samp(drawn[:, axis], plain[:, axis]).pvalue > 1e-4
    assert stats.ks_2samp(area, plain[:, 2] * plain[:, 3] / math.prod(shape)).pvalue > 1e-4


@pytest.mark.parametrize(("shape", "box"), [((4, 200), (0, 97, 4, 5)), ((200, 4), (97, 0, 5, 4))])
def test_where_no_box_fits_it_is_the_middle(shape, box):
    """Of a strip: 8 % of its area is wider than it is high, whatever is drawn."""
    drawn = boxes(*shape, count=50)
    np.testing.assert_array_equal(drawn, np.broadcast_to(box, drawn.shape))


@pytest.mark.thorough
def test_a_batch_is_cropped_one_by_one(picture):
    images = jnp.asarray(np.stack([picture] * 16))
    crop = jax.jit(random_resized_crop, static_argnums=2)
    made = np.asarray(crop(jax.random.key(3), images, SIDE))
    assert made.shape == (16, SIDE, SIDE, 3)
    np.testing.assert_array_equal(made, crop(jax.random.key(3), images, SIDE))
    assert len(np.unique(made.reshape(16, -1), axis=0)) == 16
    assert not np.array_equal(made, crop(jax.random.key(4), images, SIDE))
    boxes = DRAWN(jax.random.split(jax.random.key(3), 16), *picture.shape[:2])
    for box, image in zip(np.asarray(boxes), made, strict=True):
        assert np.abs(image.astype(int) - by_pillow(picture, box).astype(int)).max() <= 1


def test_training_is_cropped_and_a_pass_takes_the_middle(picture):
    prepare = ImagePrepare((0.0,) * 3, (1.0,) * 3, flip=True, side=SIDE)
    images = np.stack([picture] * 64)
    seen = np.asarray(PREPARED(prepare, None, jnp.asarray(images)))
    middle = images[:, 8 : 8 + SIDE, 13 : 13 + SIDE]
    np.testing.assert_allclose(seen, middle / np.float32(255), atol=1e-6)
    np.testing.assert_array_equal(middle, centre_crop(jnp.asarray(images), SIDE))
    trained = np.asarray(PREPARED(prepare, jax.random.key(0), jnp.asarray(images)))
    assert trained.shape == (64, SIDE, SIDE, 3)
    assert trained.min() >= 0
    assert trained.max() <= 1
    # The left half is a ramp: mirrored or not is seen where a crop is of it alone.
    rising = np.diff(trained[:, :, :6].mean(axis=(1, 3)), axis=1)
    assert (rising > 0).all(1).any()
    assert (rising < 0).all(1).any()


def test_imagenette_is_trained_on_crops(shared_data):
    data = load_dataset("imagenet", shared_data / "imagenette-mini", image_size=32)
    raw = jnp.asarray(data.train.take(np.arange(8)))
    assert raw.shape == (8, 36, 36, 3)
    crops = PREPARED(data.prepare, jax.random.key(0), raw)
    assert crops.shape == PREPARED(data.prepare, None, raw).shape == (8, 32, 32, 3)
    assert crops.dtype == jnp.float32
    # Natural pictures stay near the field's mean and deviation.
    assert abs(float(crops.mean())) < 1
    assert 0.5 < float(crops.std()) < 1.5
