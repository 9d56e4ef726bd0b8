"""Batches of a stream ahead of who asks for them: grain reads and decodes off the main thread."""

import gc
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from gradmatch_jax.data.files import one_line
from gradmatch_jax.data.splits import InputSource
from gradmatch_jax.errors import UserError

# Rows that a thread reads at a time: the threads share a batch, and what grain spends on each item
# (about 0.1 ms) is little beside sixteen pictures.
PIECE = 16


class Pieces:
    """Batches of a source, each in as many pieces, by position: grain's source."""

    def __init__(self, source: InputSource, batches: Sequence[Int[np.ndarray, "_"]]):
        self._source = source
        self._rows = np.concatenate([np.zeros(0, np.int64), *batches])
        self._ends = np.cumsum([0, *map(len, batches)])
        self.each = max(1, -(-max(map(len, batches), default=0) // PIECE))

    def __len__(self) -> int:
        return self.each * (len(self._ends) - 1)

    def __getitem__(self, index: Any) -> Shaped[np.ndarray, "b ..."]:
        batch, piece = divmod(int(index), self.each)
        start, stop = (int(end) for end in self._ends[batch : batch + 2])
        first, last = (start + (stop - start) * i // self.each for i in (piece, piece + 1))
        if first == last:  # a last batch of fewer rows than the others have pieces
            return np.empty((0, *self._source.shape), self._source.dtype)
        return self._source.take(self._rows[first:last])


def require_grain() -> Any:
    """Return `grain`, or raise `UserError` naming the extra that installs it."""
    try:
        return importlib.import_module("grain")
    except ImportError as error:
        raise UserError("streaming needs grain: pip install 'gradmatch-jax[grain]'") from error


def read_ahead(
    source: InputSource,
    batches: Sequence[Int[np.ndarray, "_"]],
    *,
    threads: int,
    ahead: int,
    workers: int,
) -> Any:
    """grain's iterator over the rows of each batch; what comes depends on those alone.

    Args:
        source: of the rows.
        batches: rows of it.
        threads: that read, in all processes together; 0 for one a core.
        ahead: batches that are read ahead; this bounds the memory.
        workers: processes that do it; 0 is the caller's own.

    Raises:
        UserError: grain is missing.
    """
    grain, pieces = require_grain(), Pieces(source, batches)
    threads = threads or cores()
    options = grain.ReadOptions(
        num_threads=-(-threads // max(1, workers)),
        prefetch_buffer_size=-(-max(threads, ahead * pieces.each) // max(1, workers)),
    )
    read = grain.MapDataset.source(pieces).to_iter_dataset(options)
    if workers:
        flags: Any = importlib.import_module("absl.flags")
        if not flags.FLAGS.is_parsed():  # grain's processes read one of its own
            flags.FLAGS.mark_as_parsed()
        read = read.mp_prefetch(
            grain.multiprocessing.MultiprocessingOptions(workers), worker_init_fn=_begin
        )
    return iter(read.batch(pieces.each, batch_fn=_joined))


def each_ahead(
    source: InputSource, batches: Sequence[Int[np.ndarray, "_"]], **how: int
) -> Generator[Shaped[np.ndarray, "b ..."], None, None]:
    """`read_ahead`, and whatever reads is ended with the generator, wherever that is left.

    Raises:
        UserError: what the source raises; grain is missing, or a process of its is lost.
    """
    made = read_ahead(source, batches, **how)
    try:
        yield from made
    except RuntimeError as error:
        if not how["workers"]:
            raise
        raise UserError(
            f"a process that reads ahead was lost ({one_line(error)}); --read-workers 0 reads "
            "in threads"
        ) from error
    finally:
        made.close()
        if how["workers"]:  # the last batches' shared memory is in circles of grain's
            gc.collect()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _joined(pieces: Sequence[Shaped[np.ndarray, "_ ..."]]) -> Shaped[np.ndarray, "b ..."]:
    return np.concatenate([np.asarray(piece) for piece in pieces])  # out of shared memory


def _begin(index: int, count: int) -> None:
    """In a process of grain's: what a terminal or a scheduler asks of the group is its parent's to
    answer, and it ends with that."""
    del index, count
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
