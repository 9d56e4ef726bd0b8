"""From pictures of any size to uint8 squares, the way ImageNet is evaluated."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import IO, TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from gradmatch_jax.data.files import one_line
from gradmatch_jax.errors import UserError

if TYPE_CHECKING:
    from PIL import Image


def require_pillow() -> ModuleType:
    """Return `PIL.Image`, or raise `UserError` naming the extra that installs it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(
            "decoding pictures needs Pillow: pip install 'gradmatch-jax[imagenet]'"
        ) from error
    return Image


def square(image: "Image.Image", size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Return the central size x size pixels in RGB, once the shorter side is 256/224 size."""
    shorter = round(size * 256 / 224)
    scale = shorter / min(image.size)
    width, height = (max(round(side * scale), shorter) for side in image.size)
    resized = image.convert("RGB").resize((width, height), require_pillow().Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)), np.uint8)


def decode_squares(
    files: Sequence[str | IO[bytes]], names: Sequence[str], size: int
) -> UInt8[np.ndarray, "b size size 3"]:
    """Decode `files` (paths or open files) on all cores and make a `square` of each.

    names: what to call each file in messages

    Raises:
      UserError: if a file is gone or damaged, naming it.
    """
    pillow = require_pillow()
    batch = np.empty((len(files), size, size, 3), np.uint8)

    def decode(row: int) -> None:
        try:
            with pillow.open(files[row]) as image:
                batch[row] = square(image, size)
        except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
            raise UserError(f"cannot decode {names[row]}: {one_line(error)}; replace it") from error

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(decode, range(len(files))))  # the list re-raises what a thread raised
    return batch
