"""Streams read ahead by grain: what comes, by whom, how far ahead, and what is left behind."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing

import numpy as np
import pytest

from gradmatch_jax.data.ahead import PIECE, each_ahead, read_ahead
from gradmatch_jax.data.folder import read_folder
from gradmatch_jax.errors import UserError
from toys import LONG, Stream, needs_grain, reading_threads, until

pytestmark = pytest.mark.usefixtures("grain")
INPUTS = np.random.default_rng(0).integers(0, 256, (200, 3), dtype=np.uint8)
ORDER = np.random.default_rng(1).permutation(200)[:170]


@pytest.fixture(name="grain")
def with_grain():
    needs_grain()


def batches_of(size, order=ORDER):
    return [order[start : start + size] for start in range(0, len(order), size)]


def ahead_of(source, batches, *, threads=2, ahead=2, workers=0):
    return each_ahead(source, batches, threads=threads, ahead=ahead, workers=workers)


@pytest.mark.parametrize("size", [1, 7, PIECE, PIECE + 1, 40, 169, 170, 500])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_those_of_the_source(size, threads):
    """In order, a ragged tail too: of one row, say, where the others are of three pieces."""
    found = list(ahead_of(Stream(INPUTS), batches_of(size), threads=threads, ahead=1 + size % 3))
    for batch, rows in zip(found, batches_of(size), strict=True):
        assert batch.dtype == INPUTS.dtype
        np.testing.assert_array_equal(batch, INPUTS[rows])


def test_batches_of_any_sizes():
    """A process's share of the last may be more than of the others: it is split over no device."""
    batches = [ORDER[:4], ORDER[4:8], ORDER[8:8], ORDER[8:45]]
    found = list(ahead_of(Stream(INPUTS), batches))
    assert [len(batch) for batch in found] == [4, 4, 0, 37]
    np.testing.assert_array_equal(np.concatenate(found), INPUTS[ORDER[:45]])
    assert list(ahead_of(Stream(INPUTS), [])) == []


class Watched(Stream):
    """How many threads read at once, and which."""

    def __init__(self, inputs):
        super().__init__(inputs)
        self.now, self.most, self.by, self.lock = 0, 0, set(), threading.Lock()

    def take(self, indices):
        with self.lock:
            self.now += 1
            self.most, self.by = max(self.most, self.now), self.by | {threading.get_ident()}
        time.sleep(0.002)
        with self.lock:
            self.now -= 1
        return super().take(indices)


def test_it_is_read_by_threads_of_its_own_and_by_no_more():
    source = Watched(INPUTS)
    list(ahead_of(source, batches_of(40), threads=3))
    assert source.most == 3
    assert threading.get_ident() not in source.by
    assert sorted(source.taken) == sorted(ORDER.tolist()), "every row once"


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_is_read_than_was_asked(ahead):
    """What bounds the memory: the batch that is given and those ahead of it."""
    source, order = Stream(INPUTS), np.arange(200)
    with closing(ahead_of(source, batches_of(10, order), threads=1, ahead=ahead)) as made:
        next(made)
        assert until(lambda: len(source.taken) >= 10 * (1 + ahead))
        time.sleep(0.05)
        assert len(source.taken) == 10 * (1 + ahead)


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_nothing_reads_on_where_it_is_left(asked):
    source = Watched(INPUTS)
    made = ahead_of(source, batches_of(20))
    for _ in range(asked):
        next(made)
    made.close()
    assert until(lambda: not reading_threads())
    taken = len(source.taken)
    time.sleep(0.02)
    assert len(source.taken) == taken < len(ORDER)


def test_nothing_reads_on_where_its_reader_fails():
    def interrupted():
        with closing(ahead_of(Watched(INPUTS), batches_of(20))) as made:
            for _ in made:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert until(lambda: not reading_threads())


@pytest.fixture
def pictures(tmp_path):
    """Sixty, of which the forty-fifth is broken off; their rows as they should be."""
    image = pytest.importorskip("PIL.Image", reason="the imagenet extra is not installed")
    for part in ("train", "val"):
        (tmp_path / part / "n01").mkdir(parents=True)
    for row in range(60):
        pixels = np.random.default_rng(row).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        image.fromarray(pixels).save(tmp_path / "train" / "n01" / f"{row:02}.JPEG")
    image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "val" / "n01" / "0.JPEG")
    broken = tmp_path / "train" / "n01" / "45.JPEG"
    broken.write_bytes(broken.read_bytes()[:200])
    return read_folder(tmp_path, 24).train.inputs


def fails_at_the_broken_one(pictures, workers):
    found = []

    def read():
        for batch in ahead_of(pictures, batches_of(8, np.arange(60)), workers=workers):
            found.append(batch)

    with pytest.raises(UserError) as error:
        read()
    assert re.fullmatch(r"cannot decode \S*45\.JPEG: .*; replace it", str(error.value))
    assert len(found) == 5, "those before it come"
    np.testing.assert_array_equal(np.concatenate(found), pictures.take(np.arange(40)))
    assert until(lambda: not reading_threads() and not multiprocessing.active_children())


def test_a_broken_picture_is_told_as_ever(pictures):
    fails_at_the_broken_one(pictures, 0)


def test_pictures_decoded_at_once_leave_the_warnings_be(pictures):
    """Threads that each silence all warnings and put them back would leave some silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(ahead_of(pictures, batches_of(4, np.arange(40)), threads=4))
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", UserWarning, stacklevel=1)


@pytest.mark.thorough
@LONG
def test_processes_read_the_same_and_fail_the_same(pictures):
    order = np.random.default_rng(2).permutation(40)
    found = list(ahead_of(pictures, batches_of(18, order), workers=2))
    np.testing.assert_array_equal(np.concatenate(found), pictures.take(order))
    assert all(type(batch) is np.ndarray for batch in found), "nothing is left in shared memory"
    fails_at_the_broken_one(pictures, 2)
    made = ahead_of(pictures, batches_of(4, np.arange(40)), workers=2)
    next(made)
    made.close()
    assert until(lambda: not multiprocessing.active_children())


@pytest.mark.thorough
def test_a_process_that_is_lost_is_told(pictures):
    with closing(ahead_of(pictures, batches_of(2, np.arange(40)), workers=1, ahead=1)) as made:
        next(made)
        (child,) = multiprocessing.active_children()
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal's, a scheduler's: for the run
            os.kill(child.pid, number)
        next(made)
        child.kill()
        with pytest.raises(UserError, match=r"was lost \([^\n]*\); --read-workers 0"):
            list(made)
    assert not multiprocessing.active_children()


ORPHAN = """
import multiprocessing, os, sys
from pathlib import Path
import numpy as np
from gradmatch_jax.data.ahead import read_ahead
from gradmatch_jax.data.folder import read_folder
if __name__ == "__main__":
    source = read_folder(Path(sys.argv[1]), 24).train.inputs
    batches = [np.arange(i, i + 2) for i in range(40)]
    made = read_ahead(source, batches, threads=1, ahead=1, workers=1)
    next(made)
    print(multiprocessing.active_children()[0].pid, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.thorough
def test_processes_end_with_a_run_that_is_killed(pictures, tmp_path):
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr

    def gone():
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return True
        # One that nobody waits for is no process any more.
        stat = f"/proc/{int(done.stdout)}/stat"
        return os.path.exists(stat) and open(stat).read().rsplit(")", 1)[1].split()[0] == "Z"

    assert until(gone, 30)


def test_nothing_is_read_before_it_is_asked():
    source = Stream(INPUTS)
    read_ahead(source, batches_of(10), threads=1, ahead=1, workers=0).close()
    assert source.taken == []
