"""Finding a set's files, with messages that say which file is wanted and where it comes from."""

import os
from collections.abc import Sequence
from pathlib import Path

from gradmatch_jax.errors import UserError


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
        raise UserError(f"{path} is a directory; expected {wants}")
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


def one_line(error: BaseException) -> str:
    """Return an exception's own words on one line, for quoting in a `UserError`."""
    return " ".join(str(error).split()) or type(error).__name__
