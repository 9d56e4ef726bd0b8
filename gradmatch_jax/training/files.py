"""Files that are whole or not there: written beside, synced, renamed; and seals over them.

A seal is a file of checksums: one flipped bit in what it covers is noticed. No JAX here.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SEAL = "seal.json"
TEMPORARY = ".tmp"


@contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Write a file beside `file`, and rename it over that when the block ends well.

    Whoever opens `file` finds what was there or all that was written, after a power cut too.
    """
    temporary = file.with_name(file.name + TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(file.parent)


def write_text(file: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(file) as stream:
        stream.write(text.encode())


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(file, json.dumps(finite(value), indent=2) + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or no whole one."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def finite(value: Any) -> Any:
    """`value` with nan and inf as null, which is all that JSON has for them."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sync(path: Path) -> None:
    """Have a file's or folder's content on disk, not on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """`sync` everything below a folder, and the folder."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(root) / name)
        sync(Path(root))


def digest(file: Path) -> str:
    """A file's checksum: BLAKE2b, about 1 GB a second."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def seal(folder: Path, files: Iterable[str], **more: Any) -> None:
    """Write the checksums of files of `folder`, by their names in it, and `more` beside them."""
    write_json(folder / SEAL, sealed(folder, files, **more))


def sealed(folder: Path, files: Iterable[str], **more: Any) -> dict[str, Any]:
    """What a seal over files of `folder` says."""
    return {"files": {name: digest(folder / name) for name in files}, **more}


def broken(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in words; None where all is as it was sealed."""
    known = read_json(folder / SEAL)
    if known is None or not isinstance(known.get("files"), dict):
        return f"{SEAL} is damaged" if (folder / SEAL).exists() else f"it has no {SEAL}"
    for name, expected in known["files"].items():
        try:
            if digest(folder / name) != expected:
                return f"{name} was changed"
        except (OSError, ValueError):  # ValueError: no name that a file can have
            return f"{name} is missing"
    return None
