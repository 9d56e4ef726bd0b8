"""Normalising, cropping and flipping a batch on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray, Shaped, UInt8


def normalise(
    images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b h w c"]:
    """Return (images / 255 - mean) / std of uint8, (images - mean) / std of floats, by channel.

    mean, std: per channel, of pixels in [0, 1] (uint8) or of the values themselves
    dtype: of the result; the arithmetic is float32
    """
    white = 255.0 if images.dtype == jnp.uint8 else 1.0
    scale = 1.0 / (white * jnp.asarray(std, jnp.float32))
    shift = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
    # shaped to four axes: the project runs with implicit rank promotion forbidden
    scaled = images.astype(jnp.float32) * scale[None, None, None] - shift[None, None, None]
    return scaled.astype(dtype)


def random_crop(
    key: PRNGKeyArray, images: Shaped[Array, "b h w c"], padding: int
) -> Shaped[Array, "b h w c"]:
    """Pad every side with `padding` zeros and cut an h x w window, its corner uniform per image.

    The corner is one of (2 padding + 1)^2; jit with `padding` static.
    """
    batch, height, width, channels = images.shape
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, sides)
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)

    def window(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

    return jax.vmap(window)(padded, corners)


def random_flip(key: PRNGKeyArray, images: Shaped[Array, "b h w c"]) -> Shaped[Array, "b h w c"]:
    """Mirror each image left to right with probability 1/2, independently."""
    flips = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return jnp.where(flips, images[:, :, ::-1], images)


def augment(
    key: PRNGKeyArray, images: Shaped[Array, "b h w c"], *, crop_padding: int, flip: bool
) -> Shaped[Array, "b h w c"]:
    """Apply `random_crop` (none if `crop_padding` is 0) and `random_flip` (if `flip`)."""
    crop_key, flip_key = jax.random.split(key)
    if crop_padding:
        images = random_crop(crop_key, images, crop_padding)
    return random_flip(flip_key, images) if flip else images
