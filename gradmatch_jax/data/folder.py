"""ImageNet in its folder layout, {train,val}/<class>/*.JPEG, decoded on demand."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.files import require_dir
from gradmatch_jax.data.images import Squares, decode_squares, raw_side, require_pillow
from gradmatch_jax.data.splits import Parts, Split
from gradmatch_jax.errors import UserError

_WANTS = "ImageNet's folders train/<class>/*.JPEG and val/<class>/*.JPEG"
_SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class FolderImages(Squares):
    """Image files as an `InputSource`: each take decodes anew."""

    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "b h w c"]:
        """Decode, resize and crop the images at `indices`, in that order.

        Raises:
          UserError: if a file is gone or damaged, naming it.
        """
        paths = [self.paths[int(index)] for index in indices]
        return decode_squares(paths, paths, self.size)


def read_folder(data_dir: Path | None, image_size: int) -> Parts:
    """List the pictures under `data_dir`; pixels are read by `take`.

    A class is a folder of train/, numbered in sorted order. val/, ImageNet's public validation
    set, is the test set here, as in the paper; the validation set is cut from train/.

    Raises:
      UserError: if Pillow or a folder is missing, a class is empty, or val/ has a class of its own.
    """
    require_pillow()
    if data_dir is None:
        raise UserError(f"imagenet needs --data-dir: a folder that holds {_WANTS}")
    train = require_dir(
        require_dir(data_dir, _WANTS) / "train", "one folder a class (train/<class>)"
    )
    val = require_dir(data_dir / "val", "one folder a class (val/<class>)")
    names = _classes(train)
    unknown = [name for name in _classes(val) if name not in set(names)]
    if unknown:
        raise UserError(f"{val} has {len(unknown)} classes that train lacks: {unknown[0]} is one")
    return Parts(
        _list_images(train, names, raw_side(image_size), every=True),
        _list_images(val, names, raw_side(image_size), every=False),
        class_names=names,
    )


def _classes(directory: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    foreign = [name for name in names if not _is_plain(name)]
    if foreign:
        raise UserError(
            f"{directory}: folder {foreign[0]!r} is no plain text (UTF-8 of one line): rename it"
        )
    if not names:
        raise UserError(f"{directory} has no class folders; sort its pictures into {_WANTS}")
    return tuple(names)


def _list_images(directory: Path, names: tuple[str, ...], size: int, *, every: bool) -> Split:
    """Make a `Split` of all pictures under `directory`; `every` class must have some."""
    paths: list[str] = []
    counts = []
    for name in names:
        folder = directory / name
        found = _pictures(folder) if folder.is_dir() else []
        if every and not found:
            raise UserError(f"{folder} has no pictures ({', '.join(_SUFFIXES)})")
        paths += found
        counts.append(len(found))
    labels = np.repeat(np.arange(len(names)), counts)
    return make_split(str(directory), FolderImages(size=size, paths=paths), labels)


def _pictures(folder: Path) -> list[str]:
    found = [entry for entry in os.scandir(folder) if entry.name.lower().endswith(_SUFFIXES)]
    # A pipe would be waited for, and a link to nothing is a picture lost.
    unfit = [entry.path for entry in found if not entry.is_file()]
    if unfit:
        raise UserError(f"{unfit[0]!r} is called a picture but is no file; remove it")
    return sorted(entry.path for entry in found)


def _is_plain(name: str) -> bool:
    return len(name.splitlines()) == 1 and not any("\ud800" <= c <= "\udfff" for c in name)
