"""Arrays out of an .npz file, which may come from anywhere: no code, no lies, bounded memory.

NumPy's own reader trusts what a file says of itself: a header of 100 bytes has it allocate 36 TiB,
and Python's parser reads that header. Here a header is matched with a pattern, and an array's size,
its entry's size and the size of the file must agree before anything is allocated.
"""

import math
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradmatch_jax.data.files import one_line
from gradmatch_jax.errors import UserError

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # np.savez's and np.savez_compressed's
# What is packed closer than 100 : 1 and is large is a bomb; real arrays come to 1-50 : 1.
_MOST_UNPACKED, _MOST_RATIO = 1 << 30, 100
_CHUNK = 1 << 20
_MOST_HEADER = 4096  # bytes; a plain array's are 64 or 128
_DESCR = r"""['"]descr['"] *: *['"](?P<descr>[<>|=]?[?biufcOSUVmM]\d{0,9})['"]"""
_ORDER = r"""['"]fortran_order['"] *: *(?P<order>True|False)"""
_SHAPE = r"""['"]shape['"] *: *\((?P<shape> *(?:\d{1,19}L? *, *)*(?:\d{1,19}L?)?) *\)"""
_HEADER = re.compile(rf"\{{ *{_DESCR}, *{_ORDER}, *{_SHAPE} *,? *\}}\s*")


def read_arrays(
    file: Any,
    where: str,
    keys: Sequence[str],
    *,
    optional: Sequence[str] = (),
    wants: str = "",
) -> dict[str, np.ndarray]:
    """The arrays `keys` of an .npz file, and those of `optional` that it has.

    file: a path, or a file open for bytes
    where: what to call the file in messages
    wants: what it should hold, for the message if `keys` are missing

    Raises:
      UserError: if it is no .npz file or damaged, an array is missing, there twice, encrypted,
        packed in another way than NumPy does, not of plain values, or of another size than it says.
    """
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return _read(opened, where, keys, optional, wants)
        return _read(file, where, keys, optional, wants)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {where}: {one_line(error)}") from error
    except Exception as error:  # zipfile raises a dozen types on damaged files
        raise UserError(f"{where} is damaged ({one_line(error)}); write it again") from error


def _read(
    file: Any, where: str, keys: Sequence[str], optional: Sequence[str], wants: str
) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(file):
        raise UserError(f"{where} is not a complete .npz file; write it with np.savez")
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as zipped:
        entries = zipped.infolist()
        has = [e.filename.removesuffix(".npy") for e in entries if e.filename.endswith(".npy")]
        missing = [key for key in keys if key not in has]
        if missing:
            names = one_line(ValueError(", ".join(has))) if has else "nothing"
            needs = f"it needs {wants}" if wants else f"it has {names}"
            raise UserError(f"{where} lacks {', '.join(missing)}; {needs}")
        wanted = [key for key in (*keys, *optional) if key in has]
        chosen = [e for e in entries if e.filename.removesuffix(".npy") in wanted]
        _check_entries(where, [e for e in chosen if e.filename.endswith(".npy")], size)
        return {key: _array(zipped, f"{where}: cannot read {key}", f"{key}.npy") for key in wanted}


def _check_entries(where: str, entries: list[zipfile.ZipInfo], size: int) -> None:
    names = [entry.filename for entry in entries]
    for entry in entries:
        name = f"{where}: {entry.filename.removesuffix('.npy')}"
        if names.count(entry.filename) > 1:
            raise UserError(f"{name} is in it {names.count(entry.filename)} times; keep one")
        if entry.flag_bits & 1:
            raise UserError(f"{name} is encrypted; write it with np.savez")
        if entry.compress_type not in _METHODS:
            raise UserError(
                f"{name} is packed by zip method {entry.compress_type}; np.savez and "
                "np.savez_compressed write what is read here"
            )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(_MOST_UNPACKED, _MOST_RATIO * size):
        raise UserError(
            f"{where} says that its {size} bytes unpack to {unpacked}; "
            "if that is meant, write it with np.savez, unpacked"
        )


def _array(zipped: zipfile.ZipFile, where: str, name: str) -> np.ndarray:
    with zipped.open(name) as stream:
        dtype, fortran, shape, start = _header(stream, where)
        says, holds = math.prod(shape) * dtype.itemsize, zipped.getinfo(name).file_size - start
        if says != holds:
            raise UserError(f"{where}: it holds {holds} bytes, its header says {says}")
        raw = np.empty(says, np.uint8)
        at = 0
        # To the stream's end, where zipfile compares the checksum.
        while chunk := stream.read(_CHUNK):
            raw[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
    if at != says:
        raise UserError(f"{where}: it ends after {at} of {says} bytes; write it again")
    return raw.view(dtype).reshape(shape, order="F" if fortran else "C")


def _header(stream: Any, where: str) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Type, whether in Fortran's order, shape, and the header's own length."""
    plain = "store plain numeric arrays, sequences padded with 0 to one length"
    magic = stream.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}.get(magic)
    if width is None:
        raise UserError(f"{where} (it is no .npy array); {plain}")
    length = int.from_bytes(stream.read(width), "little")
    if length > _MOST_HEADER:
        raise UserError(f"{where} (its header says that it has {length} bytes); {plain}")
    found = _HEADER.fullmatch(stream.read(length).decode("latin-1"))
    if found is None:
        raise UserError(f"{where} (its header is no plain array's); {plain}")
    if found["descr"].lstrip("<>|=")[0] == "O":
        raise UserError(f"{where} (objects are pickled, which is never opened); {plain}")
    shape = tuple(int(n.rstrip("L")) for n in found["shape"].replace(" ", "").split(",") if n)
    return np.dtype(found["descr"]), found["order"] == "True", shape, 8 + width + length


def is_plain(array: Any) -> bool:
    """Whether an array holds numbers or booleans, and no objects."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
