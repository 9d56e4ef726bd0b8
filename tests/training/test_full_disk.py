"""A disk that fills up in the middle of a run: one line, nothing lost, the same result later."""

import numpy as np
import pytest

from disks import filled, small_disk
from gradmatch_jax.errors import Blocked
from toys import toy

SIZE = 600_000  # bytes of the disk; a run of the toy takes about a fifth


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path, SIZE) as folder:
        yield folder


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
