"""One folder, one process: locks that die with their holder. No JAX here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claim(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a run's folder for the block, by a lock file beside it.

    Args:
        folder: the run's.
        wait: until another process lets go, rather than giving up at once.

    Yields:
        Whether it is held; False where another process has it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.with_name(f".{folder.name}.lock"), wait=wait) as held:
        yield held


@contextmanager
def lock(file: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold `file` for the block; it then holds this process's number.

    The lock is the process's: one that died holds nothing, whatever it left behind. The file stays:
    to remove it would take it from under another process that has just opened it.

    Yields:
        Whether it is held; False where another process, or another block of this one, has it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks here: one process at a time
        yield True
        return
    with file.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield True


def holder(file: Path) -> str:
    """Who wrote its number into a lock file, in words."""
    number = file.read_text().strip() if file.is_file() else ""
    return f"process {number}" if number.isdigit() else "another process"
