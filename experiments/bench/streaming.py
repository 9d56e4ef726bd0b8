"""Pictures a second from disk: reader by reader, memory over epochs, and taking up mid-epoch.

    python -m experiments.bench.streaming --data-dir FOLDER --copies 10

FOLDER is ImageNet's layout (Imagenette, say). `--copies N` makes N pictures of each of its training
pictures first, in a scratch folder that is removed again: other crops, other qualities, so that the
files differ and an epoch is some thousands of pictures long. One epoch is all training pictures,
decoded, resized and cropped to --image-size, in the order of a key, in batches.

"plain" is the data set's own reader batch by batch, nothing ahead of time. "feed" is what `train`
reads by, as it is by default. "grain" is `gradmatch_jax.grain.stream` with threads, "grain-N" with
N processes, whose start is in each of its epochs. Each reader is a process of its own; its resident
memory after each epoch shows whether it grows (that of worker processes is their own). Where others
share the cores, seconds of the processor compare better than seconds: they count all threads, and
grain's processes. Every reader stops in the middle of some batches once and goes on from there by
its state: `resumes` says whether the rest was what the source gives, to the bit.
"""

import contextlib
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from experiments.bench.cifar10_selection import alone
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from experiments.robustness.long_run import resident
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
    copies: int = 1
    """Pictures made of each training picture; 1: the pictures themselves."""
    image_size: int = 224
    batch_size: int = 32
    epochs: int = 6
    workers: tuple[int, ...] = (0, 2)
    """Processes of grain's; 0: threads of this one."""
    quick: bool = False
    """Small pictures, two epochs: a rehearsal."""
    results: Path = Path("results/streaming.jsonl")


QUICK = {"image_size": 32, "epochs": 2, "workers": (0,), "copies": 2}
RESUMED = 10  # batches of which half are read before the reader is left


def main(args: Streaming) -> None:
    """Read by each reader in a process of its own."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records = time.perf_counter(), []
    with pictures(args) as folder:
        for reader in ("plain", "feed", *(f"grain-{n}" if n else "grain" for n in args.workers)):
            records.append(alone(read, replace(args, data_dir=folder), reader))
            append(args.results, records[-1] | stamp(args, start))
    show(rich_table(COLUMNS, records, title="Pictures from disk"))


@contextlib.contextmanager
def pictures(args: Streaming) -> Iterator[Path]:
    """The folder to read: the one given, or a scratch folder of copies of its pictures."""
    if args.copies == 1:
        yield args.data_dir
        return
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(args.data_dir / "val", Path(scratch) / "val")
        rng = np.random.default_rng(0)
        for path in sorted((args.data_dir / "train").glob("*/*.JPEG")):
            made = Path(scratch) / "train" / path.parent.name
            made.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                for copy in range(args.copies):
                    varied(image, rng).save(made / f"{copy:03}-{path.name}", "JPEG", **quality(rng))
        yield Path(scratch)


def varied(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Nine tenths of its sides or more, from anywhere."""
    width, height = (int(side * rng.uniform(0.9, 1)) for side in image.size)
    left, top = rng.integers(image.size[0] - width + 1), rng.integers(image.size[1] - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height)).convert("RGB")


def quality(rng: np.random.Generator) -> dict[str, int]:
    """JPEG's, as pictures of the web have it."""
    return {"quality": int(rng.integers(75, 96))}


def read(args: Streaming, reader: str) -> dict[str, Any]:
    """Some epochs by one reader: its figures."""
    split = read_folder(args.data_dir, args.image_size).train
    seconds, processor, memory = [], [], []
    for epoch in range(args.epochs):
        order, start, spent = shuffled(len(split), epoch), time.perf_counter(), cpu_seconds()
        with contextlib.closing(batches(args, split, order, reader)) as made:
            count = sum(len(batch) for batch in made)
        seconds.append(time.perf_counter() - start)
        processor.append(cpu_seconds() - spent)
        memory.append(resident() / 1e9)
        assert count == len(split)
    n = len(split)
    return {
        "reader": reader, "images": n, "images_per_second": n / float(np.median(seconds)),
        "images_per_cpu_second": n / float(np.median(processor)), "seconds": seconds,
        "cpu_seconds": processor, "resident_gb": memory,
        "grown_mb": 1000 * (memory[-1] - memory[0]), "resumes": resumes(args, split, reader),
    }  # fmt: skip


def cpu_seconds() -> float:
    """Of this process with all its threads, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def shuffled(n: int, epoch: int) -> np.ndarray:
    """An epoch's order, by its key."""
    key = jax.random.key_data(jax.random.fold_in(jax.random.key(0), epoch))
    return np.random.default_rng(np.asarray(key)).permutation(n)


def batches(args: Streaming, split: Split, order: np.ndarray, reader: str) -> Any:
    """An iterator of the epoch's batches that can be closed."""
    size = args.batch_size
    if reader == "plain":
        return (split.take(order[i : i + size]) for i in range(0, len(order), size))
    if reader == "feed":
        return fed(Feed(split), order, size)
    assert not isinstance(split.inputs, np.ndarray)
    workers = int(reader.partition("-")[2] or 0)
    return stream(split.inputs, order, size, workers=workers)


def fed(feed: Feed, order: np.ndarray, size: int) -> Iterator[jax.Array]:
    """The feed's batches, on the device."""
    with contextlib.closing(feed.batches(order, size)) as made:
        for batch in made:
            yield batch.pool


def resumes(args: Streaming, split: Split, reader: str) -> bool:
    """Whether batches that are left in their middle go on with what the source gives."""
    order, half = shuffled(len(split), 0)[: RESUMED * args.batch_size], RESUMED // 2
    wanted = list(batches(args, split, order, "plain"))
    first = batches(args, split, order, reader)
    found = [np.asarray(next(first)) for _ in range(half)]
    if reader in ("plain", "feed"):  # their state is the place in the order
        rest = batches(args, split, order[half * args.batch_size :], reader)
    else:
        rest = batches(args, split, order, reader)
        rest.set_state(first.get_state())
    first.close()
    found += [np.asarray(batch) for batch in rest]
    rest.close()
    return all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


COLUMNS = fields(
    reader="{}", images="{}", images_per_second="{:.0f}", images_per_cpu_second="{:.0f}",
    peak_gb="{:.2f}", grown_mb="{:.0f}", resumes="{}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, Streaming)
