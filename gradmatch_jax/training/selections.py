"""Every selection of a run, as it is made: a file that only grows. No JAX here."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

# An example of a selection: of which epoch, the user's row, its weight.
ENTRY = np.dtype([("epoch", "<i4"), ("row", "<i8"), ("weight", "<f4")])


class Selections:
    """The file, and the checksum of what is in it so far.

    It is not part of the checkpoints, which would grow with it: each of them says how much of it it
    relies on, and that part's checksum.
    """

    def __init__(self, file: Path):
        self.file = file
        self._bytes, self._hash = 0, _hash()

    def append(
        self, epoch: int, rows: Integer[np.ndarray, " k"], weights: Float[np.ndarray, " k"]
    ) -> None:
        """Add a selection made before `epoch`."""
        entries = np.zeros(len(rows), ENTRY)
        entries["epoch"], entries["row"], entries["weight"] = epoch, rows, weights
        content = entries.tobytes()
        with self.file.open("ab") as stream:
            stream.write(content)
        self._bytes += len(content)
        self._hash.update(content)

    def mark(self) -> dict[str, Any]:
        """How much there is and its checksum, once it is on disk."""
        with self.file.open("ab") as stream:
            os.fsync(stream.fileno())
        return {"bytes": self._bytes, "digest": self._hash.hexdigest()}

    def trouble(self, mark: dict[str, Any]) -> str | None:
        """What is wrong with the part that a mark covers, in words."""
        found = _digest(self.file, mark["bytes"])
        if found is None:
            return f"{self.file.name} is cut short"
        return None if found.hexdigest() == mark["digest"] else f"{self.file.name} was changed"

    def cut(self, mark: dict[str, Any] | None) -> None:
        """Go on from a mark, or from nothing: what came after it is made again."""
        self._bytes = 0 if mark is None else mark["bytes"]
        self._hash = _digest(self.file, self._bytes) or _hash()
        with self.file.open("ab") as stream:
            stream.truncate(self._bytes)

    def table(self) -> np.ndarray:
        """All entries, read from disk where they are looked at."""
        if self._bytes == 0:
            return np.zeros(0, ENTRY)
        return np.memmap(self.file, ENTRY, "r", shape=(self._bytes // ENTRY.itemsize,))


def _hash() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def _digest(file: Path, size: int) -> "hashlib.blake2b | None":
    """The checksum of a file's first bytes, which more can be added to; None where it has fewer."""
    made, left = _hash(), size
    try:
        with file.open("rb") as stream:
            while left > 0:
                part = stream.read(min(left, 2**20))
                if not part:
                    return None
                made.update(part)
                left -= len(part)
    except FileNotFoundError:
        return made if size == 0 else None
    return made
