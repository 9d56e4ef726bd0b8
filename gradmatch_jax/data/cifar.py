"""CIFAR-10 and CIFAR-100 from their original binary archives, or from one .npz file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.download import Remote, fetch
from gradmatch_jax.data.files import (
    cache_dir,
    gunzip,
    missing_message,
    originals,
    read_bytes,
    require_dir,
    warn_once,
)
from gradmatch_jax.data.npz import read_npz
from gradmatch_jax.data.splits import Parts, Split
from gradmatch_jax.data.tar import plain_files
from gradmatch_jax.errors import UserError

_SITE = "https://www.cs.toronto.edu/~kriz/"
_TEST_ROWS = 10_000
_PIXELS = 3 * 32 * 32  # a row's image: red, green and blue planes of 32 x 32

_NAMES10 = "airplane automobile bird cat deer dog frog horse ship truck"
_NAMES100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""


Buffer = bytes | memoryview


class Layout(NamedTuple):
    """One CIFAR's files: rows are `label_bytes` labels (the last one counts), then the image."""

    name: str
    archive: Remote
    folder: str  # inside the archive
    train: tuple[str, ...]
    test: str
    train_rows: int  # of each training file; the test file has 10,000
    label_bytes: int
    class_names: tuple[str, ...]
    pickles: tuple[str, str]  # names of the version for Python


CIFAR10 = Layout(
    name="cifar10",
    archive=Remote(
        "cifar-10-binary.tar.gz",
        _SITE + "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
    ),
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    train_rows=10_000,
    label_bytes=1,
    class_names=tuple(_NAMES10.split()),
    pickles=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
)
CIFAR100 = Layout(
    name="cifar100",
    archive=Remote(
        "cifar-100-binary.tar.gz",
        _SITE + "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
    ),
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    train_rows=50_000,
    label_bytes=2,  # coarse, fine
    class_names=tuple(_NAMES100.split()),
    pickles=("cifar-100-python.tar.gz", "cifar-100-python"),
)


def read_cifar(layout: Layout, data_dir: Path | None) -> Parts:
    """Read a CIFAR from `data_dir`, or from the cache after a download where it is None.

    `data_dir` holds `<name>.npz`, the binary archive, or its .bin files (directly or in the
    archive's folder), looked for in that order; or it is the .npz file itself. CIFAR-100's
    labels are the fine ones.

    Raises:
      UserError: if none of them is there, only the pickled version is, or a file is damaged.
    """
    if data_dir is None:
        parts = _read_archive(layout, fetch(layout.archive, cache_dir(layout.name)))
    elif data_dir.suffix == ".npz":
        parts = read_npz(data_dir)
    else:
        parts = _read_dir(layout, require_dir(data_dir, _wants(layout)))
    return parts._replace(class_names=layout.class_names)


def _wants(layout: Layout) -> str:
    return f"{layout.name}.npz, {layout.archive.name} or its .bin files"


def _read_dir(layout: Layout, directory: Path) -> Parts:
    if (directory / f"{layout.name}.npz").is_file():
        return read_npz(directory / f"{layout.name}.npz")
    if (directory / layout.archive.name).is_file():
        archive = directory / layout.archive.name
        originals({archive: layout.archive.md5}, layout.archive.url)
        return _read_archive(layout, archive)
    for folder in (directory, directory / layout.folder):
        if (folder / layout.test).is_file():
            return _read_bins(layout, folder)
    candidates = (directory, *(directory / name for name in layout.pickles))
    pickled = [path for path in candidates if path.name in layout.pickles and path.exists()]
    if pickled:
        raise UserError(
            f"{pickled[0]} holds Python pickles, which can run code when read: "
            f"take {layout.archive.name} from {_SITE} or an .npz file instead"
        )
    alternatives = [layout.archive.name, f"{layout.name}.npz"]
    raise UserError(missing_message(directory, alternatives, layout.archive.url, joined=" or "))


def _read_bins(layout: Layout, folder: Path) -> Parts:
    names = (*layout.train, layout.test)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(missing_message(folder, missing, layout.archive.url))
    blobs = {name: read_bytes(folder / name) for name in names}
    rows = dict.fromkeys(layout.train, layout.train_rows) | {layout.test: _TEST_ROWS}
    short = [n for n in names if len(blobs[n]) < rows[n] * (layout.label_bytes + _PIXELS)]
    if short:  # files of rows carry no checksum
        warn_once(f"{folder}: fewer rows than published, read all the same: {', '.join(short)}")
    return _parse(layout, folder, blobs)


def _read_archive(layout: Layout, archive: Path) -> Parts:
    wanted = {*layout.train, layout.test}
    blobs = plain_files(gunzip(archive, layout.archive.url), str(archive), wanted)
    missing = sorted(wanted - blobs.keys())
    if missing:
        raise UserError(f"{archive} lacks {', '.join(missing)}; get it from {layout.archive.url}")
    return _parse(layout, archive, blobs)


def _parse(layout: Layout, where: Path, blobs: Mapping[str, Buffer]) -> Parts:
    def split(names: tuple[str, ...]) -> Split:
        most = _TEST_ROWS if names == (layout.test,) else layout.train_rows
        batches = [_rows(layout, f"{where} {name}", blobs[name], most) for name in names]
        rows = np.concatenate(batches)
        planes = rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
        images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        return make_split(f"{where} {names[0]}", images, rows[:, layout.label_bytes - 1])

    return Parts(split(layout.train), split((layout.test,)))


def _rows(layout: Layout, where: str, blob: Buffer, most: int) -> np.ndarray:
    length = layout.label_bytes + _PIXELS
    if len(blob) == 0:
        raise UserError(f"{where} holds no images; fetch it again")
    if len(blob) % length:
        raise UserError(
            f"{where} is truncated: {len(blob)} bytes are no whole number of {length}-byte rows"
        )
    if len(blob) > most * length:
        raise UserError(f"{where} holds {len(blob) // length} rows; the original has {most}")
    return np.frombuffer(blob, np.uint8).reshape(-1, length)
