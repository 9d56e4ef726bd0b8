"""Normalising, cropping and flipping a batch on the device."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int32, PRNGKeyArray, Shaped, UInt8


def normalise(
    images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"],
    mean: tuple[float, ...] | Float[Array, "c"],
    std: tuple[float, ...] | Float[Array, "c"],
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


# Of a training crop: its share of the picture's area, its width to its height, and how often a box
# that fits is looked for (Szegedy et al. 2015, "Going Deeper with Convolutions", section 6; the
# numbers are torchvision's, which all published training recipes use).
SCALE, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10


def random_resized_crop(
    key: PRNGKeyArray, images: Shaped[Array, "b h w c"], side: int
) -> Shaped[Array, "b side side c"]:
    """Cut a box of random area, shape and place out of each image; resize it to `side` x `side`.

    jit with `side` static: boxes differ in size, what is computed does not.
    """
    height, width = images.shape[1:3]

    def one(key: PRNGKeyArray, image: Array) -> Array:
        return resized_box(image, crop_box(key, height, width), side)

    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def crop_box(key: PRNGKeyArray, height: int, width: int) -> Int32[Array, "4"]:
    """Top, left, height and width of a random box: the first that fits of TRIES draws.

    The area is uniform in SCALE, the logarithm of width / height uniform in RATIO, the place
    uniform. Where none fits, the largest box of a shape in RATIO in the picture's middle.
    """
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (TRIES,), jnp.float32, *SCALE) * float(height * width)
    low, high = (math.log(ratio) for ratio in RATIO)
    ratio = jnp.exp(jax.random.uniform(ratio_key, (TRIES,), jnp.float32, low, high))
    heights = jnp.round(jnp.sqrt(area / ratio)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area * ratio)).astype(jnp.int32)
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = jnp.argmax(fits)
    h, w = heights[first], widths[first]
    rooms = jnp.maximum(jnp.stack([height - h, width - w]), 0)
    corner = jax.random.randint(place_key, (2,), 0, rooms + 1, jnp.int32)
    most_h, most_w = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    middle = jnp.asarray(((height - most_h) // 2, (width - most_w) // 2, most_h, most_w), jnp.int32)
    return jnp.where(jnp.any(fits), jnp.stack([*corner, h, w]), middle)


def resized_box(
    image: Shaped[Array, "h w c"], box: Int32[Array, "4"], side: int
) -> Shaped[Array, "side side c"]:
    """A box (top, left, height, width) of an image, resized to `side` x `side`.

    A triangle filter, as wide as a pixel of the smaller of the two, that sees nothing beyond the
    box: Pillow's `crop` and `resize` with BILINEAR. Whole numbers are rounded, once.
    """
    rows = _weights(box[0], box[2], image.shape[0], side)
    columns = _weights(box[1], box[3], image.shape[1], side)
    precise = jax.lax.Precision.HIGHEST
    made = jnp.einsum("ih,hwc->iwc", rows, image.astype(jnp.float32), precision=precise)
    made = jnp.einsum("jw,iwc->ijc", columns, made, precision=precise)
    return (
        made if jnp.issubdtype(image.dtype, jnp.floating) else jnp.round(made).astype(image.dtype)
    )


def _weights(
    start: Int32[Array, ""], length: Int32[Array, ""], pixels: int, side: int
) -> Float[Array, "side pixels"]:
    """What each of `side` new pixels takes of the old ones, `start` to `start` + `length`."""
    step = length.astype(jnp.float32) / side
    centres = start.astype(jnp.float32) + (jnp.arange(side, dtype=jnp.float32) + 0.5) * step
    old = jnp.arange(pixels, dtype=jnp.int32)
    away = jnp.abs(old.astype(jnp.float32)[None] + 0.5 - centres[:, None])
    inside = (old >= start) & (old < start + length)
    weights = jnp.maximum(1 - away / jnp.maximum(step, 1.0), 0.0) * inside[None].astype(jnp.float32)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def centre_crop(images: Shaped[Array, "b h w c"], side: int) -> Shaped[Array, "b side side c"]:
    """The `side` x `side` pixels in the middle."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return images[:, top : top + side, left : left + side]


def augment(
    key: PRNGKeyArray,
    images: Shaped[Array, "b h w c"],
    *,
    crop_padding: int,
    flip: bool,
    side: int = 0,
) -> Shaped[Array, "b _ _ c"]:
    """Crop each image at random, and mirror it.

    Args:
        key: of all that is drawn.
        images: as they were read.
        crop_padding: of `random_crop`; none where it is 0.
        flip: whether `random_flip` follows.
        side: of `random_resized_crop`, in its place; none where it is 0.

    Returns:
        The images, of the same size or of `side` x `side`.
    """
    crop_key, flip_key = jax.random.split(key)
    if side:
        images = random_resized_crop(crop_key, images, side)
    elif crop_padding:
        images = random_crop(crop_key, images, crop_padding)
    return random_flip(flip_key, images) if flip else images
