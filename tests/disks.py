"""Small disks of their own; only root can have one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes mounted at `folder`, for the block."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    made = _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        _run("umount", str(folder))


def make_read_only(disk: Path) -> None:
    """From here on it can be read and not written to."""
    assert _run("mount", "-o", "remount,ro", str(disk)).returncode == 0


@contextmanager
def filled(disk: Path, leaving: int) -> Iterator[None]:
    """All of the disk but so many bytes taken, for the block."""
    free = os.statvfs(disk)
    block = free.f_bavail * free.f_frsize
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(block - leaving, 0)))
    yield
    (disk / "ballast").unlink()


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False)
