"""Pictures from anywhere: other formats under a JPEG's name, bombs, what is no file."""

import io
import os
import struct
import types
import zlib
from pathlib import Path

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset, tfds
from gradmatch_jax.data.images import decode_squares
from gradmatch_jax.errors import UserError

Image = pytest.importorskip("PIL.Image", reason="the imagenet extra (Pillow) is not installed")


def refused(content: bytes, size: int = 16) -> str:
    with pytest.raises(UserError) as error:
        decode_squares([io.BytesIO(content)], ["a.JPEG"], size)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "BMP", "TIFF", "PDF", "PPM", "WEBP", "ICO"])
def test_other_formats_are_not_tried(kind):
    out = io.BytesIO()
    Image.new("RGB", (20, 20)).save(out, kind)
    assert refused(out.getvalue()) == "cannot decode a.JPEG: it is no JPEG or PNG; replace it"


def png(width: int, height: int) -> bytes:
    """A PNG of one colour, whose size its header says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    )


@pytest.mark.parametrize("side", [13_000, 20_000, 2**31 - 1])
def test_large_pictures_are_refused_before_they_are_unpacked(side, recwarn):
    said = refused(png(side, side))
    assert f"{side} x {side} pixels" in said or "cannot decode a.JPEG" in said
    assert not recwarn.list


def test_a_strip_is_no_square():
    assert "60000 x 1 pixels are too narrow" in refused(png(60_000, 1), 224)


def test_names_and_kinds_of_files(tmp_path):
    for part in ("train", "val"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (20, 20)).save(tmp_path / part / label / f"{i}.jpg")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/a/\xff.jpg"))
    Image.new("RGB", (20, 20)).save(str(odd))
    train = load_dataset("imagenet", tmp_path, image_size=16).train
    assert train.take(np.arange(len(train))).shape == (len(train), 18, 18, 3)
    odd.write_bytes(b"x")
    train = load_dataset("imagenet", tmp_path, image_size=16).train
    with pytest.raises(UserError, match="it is no JPEG or PNG"):
        train.take(np.arange(len(train)))
    odd.unlink()
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("nothing", path)):
        path = tmp_path / "train" / "b" / "9.jpg"
        make(path)
        with pytest.raises(UserError, match=r"9.jpg' is called a picture but is no file"):
            load_dataset("imagenet", tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()
    os.mkdir(os.fsencode(tmp_path) + b"/train/\xff")
    with pytest.raises(UserError, match=r"folder '\\udcff' is no plain text"):
        load_dataset("imagenet", tmp_path)


def test_tfds_pictures_are_guarded_too(monkeypatch):
    """Records as tfds gives them, without tfds: its own door is tested where it is installed."""

    class Records:
        def __init__(self, *images: bytes):
            self.images = images
            names = types.SimpleNamespace(names=[str(i) for i in range(10)])
            self.dataset_info = types.SimpleNamespace(features={"label": names})

        def __len__(self) -> int:
            return len(self.images)

        def __getitems__(self, rows: list[int]) -> list[dict]:
            return [{"image": self.images[row], "label": row} for row in rows]

    def read(*images: bytes):
        monkeypatch.setattr(tfds, "_open", lambda *_: [Records(*images)] * 2)
        return tfds.read_tfds("mnist", None, 224)

    out = io.BytesIO()
    Image.new("L", (28, 28), 9).save(out, "PNG")
    good = out.getvalue()
    assert read(good, good).train.shape == (28, 28, 1)
    with pytest.raises(UserError, match=r"record 1 of mnist train: it is no JPEG or PNG"):
        read(good, b"no picture")
    with pytest.raises(UserError, match=r"what tfds prepared of mnist is unfit \([^\n]*shape"):
        read(good, png(50, 50))
