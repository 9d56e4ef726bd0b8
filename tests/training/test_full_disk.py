"""A disk that fills up in the middle of a run: one line, nothing lost, the same result later."""

import os
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

from gradmatch_jax.errors import Blocked
from toys import toy

SIZE = 600_000  # bytes of the disk; a run of the toy takes about a fifth


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; only root can have one."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=False)


@contextmanager
def filled(disk, leaving):
    """All of the disk but so many bytes taken, for the block."""
    free = os.statvfs(disk)
    block = free.f_bavail * free.f_frsize
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(block - leaving, 0)))
    yield
    (disk / "ballast").unlink()


@pytest.mark.thorough
@pytest.mark.parametrize("leaving", [0, 8_192, 40_960, 65_536, 98_304])
def test_the_run_goes_on_when_there_is_room_again(disk, leaving):
    settings = {"epochs": 6, "checkpoint_seconds": 0}
    alone = toy(**settings)
    with filled(disk, leaving), pytest.raises(Blocked) as error:
        toy(disk / "run", **settings)
    said = str(error.value)
    assert "\n" not in said
    assert "space" in said
    result = toy(disk / "run", **settings)
    assert np.array_equal(
        result.state.learner.variables.params["W"], alone.state.learner.variables.params["W"]
    )
    for row, expected in zip(result.log, alone.log, strict=True):
        for name in ("epoch", "examples", "train_loss"):
            assert row[name] == expected[name]
    assert not list(disk.rglob("*.tmp"))
