"""ImageNet's pictures from disk: images a second and memory of each reader, epoch by epoch.

    python -m experiments.bench.streaming --data-dir FOLDER

Decoded, resized and cropped to --image-size, in the order of a key, in batches. "feed" is what
training reads by: one batch ahead in a thread, decoded on all cores. "grain" is
`gradmatch_jax.grain.stream` with threads, "grain-N" with N processes, whose start is in each of its
epochs. Each reader is a process of its own; its peak memory after each epoch shows whether it grows
(that of worker processes is their own). Every reader stops in the middle of an epoch once and goes
on from there by its state: `resumes` says whether the rest was the same to the bit.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.bench.cifar10_selection import alone, peak_gb
from experiments.command import command, quickened
from experiments.records import append, fields, stamp
from gradmatch_jax.data import Split
from gradmatch_jax.data.folder import read_folder
from gradmatch_jax.grain import stream
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.training.feed import Feed


@dataclass(frozen=True)
class Streaming:
    """Which pictures, and how they are read."""

    data_dir: Path
    """Folders train/<class> and val/<class>."""
    image_size: int = 224
    batch_size: int = 32
    epochs: int = 5
    workers: tuple[int, ...] = (0, 2)
    """Processes of grain's; 0: threads of this one."""
    quick: bool = False
    """Small pictures, two epochs: a rehearsal."""
    results: Path = Path("results/streaming.jsonl")


QUICK = {"image_size": 32, "epochs": 2, "workers": (0,)}


def main(args: Streaming) -> None:
    """Read by each reader in a process of its own."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records = time.perf_counter(), []
    for workers in (None, *args.workers):
        records.append(alone(read, args, workers))
        append(args.results, records[-1] | stamp(args, start))
    Console().print(rich_table(COLUMNS, records, title="Pictures from disk"))


def read(args: Streaming, workers: int | None) -> dict[str, Any]:
    """Some epochs by one reader: its figures. workers: of grain's; None is the feed."""
    split = read_folder(args.data_dir, args.image_size).train
    seconds, peaks = [], []
    for epoch in range(args.epochs):
        order, start = shuffled(len(split), epoch), time.perf_counter()
        count = sum(len(batch) for batch in batches(args, split, order, workers))
        seconds.append(time.perf_counter() - start)
        peaks.append(peak_gb())
        assert count == len(split)
    name = "feed" if workers is None else "grain" if workers == 0 else f"grain-{workers}"
    rate = len(split) / float(np.median(seconds))
    return {
        "reader": name, "images": len(split), "images_per_second": rate, "seconds": seconds,
        "peaks_gb": peaks, "grown_mb": 1000 * (peaks[-1] - peaks[0]),
        "resumes": resumes(args, split, workers),
    }  # fmt: skip


def shuffled(n: int, epoch: int) -> np.ndarray:
    """An epoch's order, by its key."""
    key = jax.random.key_data(jax.random.fold_in(jax.random.key(0), epoch))
    return np.random.default_rng(np.asarray(key)).permutation(n)


def batches(args: Streaming, split: Split, order: np.ndarray, workers: int | None):
    """An iterator of the epoch's batches."""
    if workers is None:
        return (batch.pool for batch in Feed(split).batches(order, args.batch_size))
    assert not isinstance(split.inputs, np.ndarray)
    return stream(split.inputs, order, args.batch_size, workers=workers)


def resumes(args: Streaming, split: Split, workers: int | None) -> bool:
    """Whether an epoch that is left in its middle goes on with the same batches."""
    order = shuffled(len(split), 0)
    whole = [np.asarray(batch) for batch in batches(args, split, order, workers)]
    half = len(whole) // 2
    if workers is None:  # its state is the place in the order
        rest = batches(args, split, order[half * args.batch_size :], workers)
    else:
        first: Any = batches(args, split, order, workers)
        for _ in range(half):
            next(first)
        rest: Any = batches(args, split, order, workers)
        rest.set_state(first.get_state())
    return all(np.array_equal(a, b) for a, b in zip(rest, whole[half:], strict=True))


COLUMNS = fields(
    reader="{}", images="{}", images_per_second="{:.0f}", peak_gb="{:.2f}", grown_mb="{:.0f}",
    resumes="{}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, Streaming)
