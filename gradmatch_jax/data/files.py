"""Finding and reading a set's files, bounded, with messages that say what is wanted and whence."""

import functools
import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradmatch_jax.errors import UserError

# Of any one file, packed or not, but for .npz: the largest original (CIFAR-10) unpacks to 184 MB.
MOST_BYTES = 1 << 29
_CHUNK = 1 << 20


def cache_dir(name: str) -> Path:
    """Where downloads of the set `name` are kept: under $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gradmatch-jax" / name


def require_dir(path: Path, wants: str) -> Path:
    """Return `path` if it is a directory, else raise `UserError`; it should hold `wants`."""
    if not path.exists():
        raise UserError(f"data directory {path} does not exist; it should hold {wants}")
    if not path.is_dir():
        raise UserError(f"{path} is not a directory; --data-dir should hold {wants}")
    return path


def require_file(path: Path, wants: str) -> Path:
    """Return `path` if it is a file, else raise `UserError`; it should be `wants`."""
    if not path.exists():
        raise UserError(f"{path} does not exist; expected {wants}")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "no plain file"
        raise UserError(f"{path} is {kind}; expected {wants}")
    return path


def require_files(directory: Path, names: Sequence[str], source: str) -> list[Path]:
    """Return the paths of `names` in `directory`, or raise one `UserError` for all that lack.

    source: where the files can be had
    """
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise UserError(missing_message(directory, missing, source))
    return [directory / name for name in names]


def missing_message(
    directory: Path, missing: Sequence[str], source: str, *, joined: str = ", "
) -> str:
    """One line: what is missing, where it can be had, and the folder below that has it."""
    nearby = [path.parent for name in missing for path in sorted(directory.glob(f"*/{name}"))]
    hint = f" (did you mean --data-dir {nearby[0]}?)" if nearby else ""
    return f"{directory} lacks {joined.join(missing)}{hint}; get it from {source}"


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
      UserError: if they are more than `most`; nothing is read then.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise UserError(f"{path} holds {size} bytes, and should hold {most} at most")
        return file.read(size)


def gunzip(path: Path, source: str, most: int = MOST_BYTES) -> bytearray:
    """What a gzip file unpacks to, its trailer read too: the checksum and the length.

    source: where the file can be had

    Raises:
      UserError: if the stream is damaged or cut, or unpacks to more than `most` bytes.
    """
    unpacked = bytearray()
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK):
                unpacked += chunk
                if len(unpacked) > most:
                    most_mib = f"{most >> 20} MiB"
                    raise UserError(f"{path} unpacks to more than {most_mib}; get it from {source}")
            if not unpacked:
                raise EOFError("nothing in it")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} is truncated or damaged ({one_line(error)}); fetch it again from {source}"
        ) from error
    return unpacked


def md5_of(path: Path) -> str:
    """A file's md5, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def originals(files: Mapping[Path, str], source: str) -> set[Path]:
    """Those of the user's own `files` (with their published md5) that are the published ones.

    The others may be meant, a smaller set in the same format say: one line on stderr names them.
    """
    same = {path for path, md5 in files.items() if md5_of(path) == md5}
    other = [path for path in files if path not in same]
    if other:
        names = ", ".join(path.name for path in other)
        warn_once(
            f"{other[0].parent}: not as published (another md5), read all the same: {names}; "
            f"the originals are at {source}"
        )
    return same


@functools.cache  # a comparison reads its data for every run
def warn_once(message: str) -> None:
    """Say one line on stderr, the first time."""
    print(f"warning: {message}", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """Return an exception's own words on one line, for quoting in a `UserError`."""
    return " ".join(str(error).split())[:200] or type(error).__name__
