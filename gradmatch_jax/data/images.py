"""From pictures of any size to uint8 squares, as much larger as ImageNet's evaluation has them."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from gradmatch_jax.data.files import one_line
from gradmatch_jax.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

_MOST_PIXELS = 89_478_485  # a picture's; from here on Pillow warns of bombs (268 MB in RGB)
_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings.filters` has it


def raw_side(size: int) -> int:
    """The side of what is decoded for crops of `size`: 256 for 224, and as many pixels around."""
    return size + 2 * round(size / 14)


@dataclass(frozen=True)
class Squares:
    """The shape and type of the pictures that an `InputSource` decodes to."""

    size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.size, self.size, 3

    @property
    def dtype(self) -> np.dtype:
        """The type of a pixel."""
        return np.dtype(np.uint8)


def require_pillow() -> ModuleType:
    """Return `PIL.Image`, or raise `UserError` naming the extra that installs it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(
            "decoding pictures needs Pillow: pip install 'gradmatch-jax[imagenet]'"
        ) from error
    return Image


@contextmanager
def opened(file: str | BytesIO, name: str) -> Iterator["Image.Image"]:
    """A JPEG or PNG whose size its header says; no other kind is tried, whatever the name.

    Whatever is raised while it is open becomes a `UserError` that calls it `name`.
    """
    pillow = require_pillow()
    name = " ".join(name.splitlines())
    try:
        with pillow.open(file, formats=("JPEG", "PNG")) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise UserError(
                    f"{name} has {width} x {height} pixels, above {_MOST_PIXELS:,}; shrink it"
                )
            yield image
    except UserError:
        raise
    except pillow.UnidentifiedImageError as error:
        raise UserError(f"cannot decode {name}: it is no JPEG or PNG; replace it") from error
    except Exception as error:  # Pillow raises a dozen types on damaged files
        raise UserError(f"cannot decode {name}: {one_line(error)}; replace it") from error


def square(image: "Image.Image", size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Return the central size x size pixels in RGB, once the shorter side has as many."""
    scale = size / min(image.size)
    width, height = (max(round(side * scale), size) for side in image.size)
    if width * height > _MOST_PIXELS:
        raise ValueError(f"{image.size[0]} x {image.size[1]} pixels are too narrow for a square")
    resized = image.convert("RGB").resize((width, height), require_pillow().Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)), np.uint8)


def decode_squares(
    files: Sequence[str | BytesIO], names: Sequence[str], size: int
) -> UInt8[np.ndarray, "b size size 3"]:
    """Decode `files` (paths or open files) one after another and make a `square` of each.

    names: what to call each file in messages

    Raises:
      UserError: if a file is gone, damaged, no JPEG or PNG, or above 89 million pixels, naming it.
    """
    _silence_pillow()
    batch = np.empty((len(files), size, size, 3), np.uint8)
    for row, (file, name) in enumerate(zip(files, names, strict=True)):
        with opened(file, name) as image:
            batch[row] = square(image, size)
    return batch


def _silence_pillow() -> None:
    """Its warnings (odd metadata, large pictures) say nothing that the errors do not.

    For good: what `catch_warnings` puts back, another thread may have put there.
    """
    if _SILENCE not in warnings.filters:
        warnings.filterwarnings("ignore", module=_SILENCE[3].pattern)
