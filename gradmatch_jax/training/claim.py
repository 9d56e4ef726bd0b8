"""One folder, one process: a lock that dies with its holder. No JAX here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claim(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a run's folder for the block, by a lock file beside it.

    The lock is the process's: one that died holds nothing, whatever it left behind.

    Args:
        folder: the run's.
        wait: until another process lets go, rather than giving up at once.

    Yields:
        Whether it is held; False where another process has it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks here: one worker at a time
        yield True
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
