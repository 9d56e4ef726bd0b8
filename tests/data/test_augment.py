"""Augmentation on the device, against NumPy loops and the distributions it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data.augment import augment, normalise, random_crop, random_flip


@pytest.fixture
def images() -> np.ndarray:
    """Pixels 1..255: never 0, so that padding shows."""
    return np.random.default_rng(0).integers(1, 256, (64, 6, 5, 3), dtype=np.uint8)


def corners_of(cropped: np.ndarray, images: np.ndarray, padding: int) -> list[tuple[int, int]]:
    """Find by search, for each image, the one corner of the padded image its crop came from."""
    height, width = images.shape[1:3]
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    found = []
    for padded, crop in zip(np.pad(images, sides), cropped, strict=True):
        matches = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if np.array_equal(padded[top : top + height, left : left + width], crop)
        ]
        assert len(matches) == 1
        found += matches
    return found


def test_normalise_is_the_formula(images):
    mean, std = (0.5, 0.4, 0.1), (0.2, 0.3, 0.25)
    expected = (images.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    result = normalise(jnp.asarray(images), mean, std)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_normalise_gives_the_dtype_asked_for(images):
    result = normalise(jnp.asarray(images), (0.5,) * 3, (0.2,) * 3, dtype=jnp.bfloat16)
    assert result.dtype == jnp.bfloat16


def test_normalised_digits_have_mean_zero_and_std_one():
    from gradmatch_jax.data import load_dataset

    digits = load_dataset("digits")
    result = np.asarray(
        normalise(jnp.asarray(digits.train.inputs), digits.prepare.mean, digits.prepare.std)
    )
    assert abs(result.mean(dtype=np.float64)) < 1e-5
    assert abs(result.std(dtype=np.float64) - 1) < 1e-5


@pytest.mark.parametrize("padding", [1, 2])
def test_every_crop_is_a_window_and_every_corner_is_reached(images, padding):
    crop = jax.jit(random_crop, static_argnums=2)
    corners: list[tuple[int, int]] = []
    for seed in range(10):
        cropped = np.asarray(crop(jax.random.key(seed), jnp.asarray(images), padding))
        assert cropped.shape == images.shape
        assert cropped.dtype == np.uint8
        corners += corners_of(cropped, images, padding)
    counts = np.zeros((2 * padding + 1,) * 2)
    np.add.at(counts, tuple(np.array(corners).T), 1)
    expected = len(corners) / counts.size
    # 640 draws over 9 or 25 corners: six standard deviations of a count
    assert np.all(np.abs(counts - expected) < 6 * np.sqrt(expected))


def test_images_of_a_batch_are_cropped_independently(images):
    same = jnp.broadcast_to(jnp.asarray(images[:1]), images.shape)
    cropped = np.asarray(random_crop(jax.random.key(0), same, 2))
    assert len(np.unique(cropped.reshape(len(cropped), -1), axis=0)) > 10


def test_flip_mirrors_columns_of_half_the_images(images):
    flips = 0
    for seed in range(10):
        result = np.asarray(random_flip(jax.random.key(seed), jnp.asarray(images)))
        for before, after in zip(images, result, strict=True):
            kept, mirrored = np.array_equal(after, before), np.array_equal(after, before[:, ::-1])
            assert kept != mirrored
            flips += mirrored
    assert abs(flips - 320) < 5 * np.sqrt(640 / 4)


def test_augment_without_crop_or_flip_is_the_identity(images):
    result = augment(jax.random.key(0), jnp.asarray(images), crop_padding=0, flip=False)
    np.testing.assert_array_equal(result, images)


def test_augment_crops_then_flips_and_repeats_with_its_key(images):
    def run(seed: int) -> np.ndarray:
        batch = jnp.asarray(images)
        return np.asarray(augment(jax.random.key(seed), batch, crop_padding=2, flip=True))

    first = run(3)
    np.testing.assert_array_equal(first, run(3))
    assert not np.array_equal(first, run(4))
    mirrored = images[:, :, ::-1]
    sides = ((0, 0), (2, 2), (2, 2), (0, 0))
    for row in range(len(images)):
        windows = [
            np.pad(source[row : row + 1], sides)[0, top : top + 6, left : left + 5]
            for source in (images, mirrored)
            for top in range(5)
            for left in range(5)
        ]
        assert any(np.array_equal(first[row], window) for window in windows)


def test_augment_flips_without_cropping(images):
    result = np.asarray(augment(jax.random.key(0), jnp.asarray(images), crop_padding=0, flip=True))
    kept = (result == images).all((1, 2, 3))
    mirrored = (result == images[:, :, ::-1]).all((1, 2, 3))
    assert np.all(kept ^ mirrored)
    assert kept.any()
    assert mirrored.any()
