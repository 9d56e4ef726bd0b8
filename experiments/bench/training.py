"""Training steps and forward passes beside PyTorch's, in one run on the same cores.

    python -m experiments.bench.training --torch-python PATH_TO_A_PYTHON_WITH_TORCH
    python -m experiments.bench.training --env FOLDER     # makes an environment with torch there
    python -m experiments.bench.training --bf16 --images 50000 --batches 128 --torch-pass-batch 1000
                                         # on a GPU host whose Python has torch too

LeNet and ResNet-18 on images of MNIST's and CIFAR-10's shape (random pixels: speed does not see
them), weighted SGD steps and a pass over all images. PyTorch is a process of its own, asked for
each figure right beside ours; both are pinned to --threads cores. Medians over --repeats after a
first time, compilation apart; cpu-seconds beside wall, for machines that others use too. A pass
takes the batch size that suits each: 50 for ours (whole calls of several), 200 for PyTorch's.

On a GPU both have the images there and PyTorch its layout for it (channels last), and with --bf16
both compute in it, PyTorch by autocast; its steps are eager, and with `compiled` in the record made
by torch.compile.

Target on one CPU core, LeNet: steps 1.3 times PyTorch's images a second at batches of 20 and 128,
the pass 1.5 times.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments.bench.torch_environment import ask, environment, pin
from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.data import Dataset, ImagePrepare, Split
from gradmatch_jax.measure.clock import lap
from gradmatch_jax.models import build_model
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, run_epoch
from gradmatch_jax.training.steps import make_steps

SHAPES = {"lenet": (28, 28, 1), "resnet18": (32, 32, 3)}


@dataclass(frozen=True)
class TrainingBenchmark:
    """What to time, and PyTorch's Python."""

    models: tuple[Literal["lenet", "resnet18"], ...] = ("lenet", "resnet18")
    batches: tuple[int, ...] = (20, 128)
    """Mini-batch sizes of the steps."""
    images: int = 6000
    """Of an epoch and of a pass; on a CPU ResNet-18 gets a twentieth."""
    torch_pass_batch: int = 200
    torch_python: Path | None = None
    """A Python with torch; None: --env, or this one where it has torch."""
    env: Path | None = None
    """Make an environment with torch in this folder, if it is not there."""
    bf16: bool = False
    """Compute in bfloat16, on both sides."""
    compiled: bool = False
    """PyTorch by torch.compile."""
    threads: int = 1
    repeats: int = 5
    quick: bool = False
    """A few images, once: a rehearsal."""
    results: Path = Path("results/training_benchmark.jsonl")


QUICK = {"models": ("lenet",), "batches": (20,), "images": 200, "repeats": 1}


def main(args: TrainingBenchmark) -> None:
    """Time every model, step size and pass on both sides."""
    args = quickened(args, **QUICK) if args.quick else args
    start = time.perf_counter()
    pin(args.threads)
    python = args.torch_python or (environment(args.env) if args.env else Path(sys.executable))
    records, gpu = [], jax.default_backend() == "gpu"
    for model in args.models:
        few = gpu or model == "lenet"
        images = args.images if few else max(args.images // 20, max(args.batches))
        works = [("train", batch, batch) for batch in args.batches]
        for work, batch, theirs in (*works, ("pass", None, min(args.torch_pass_batch, images))):
            asked = {
                "model": model, "work": work, "batch": theirs, "images": images,
                "repeats": args.repeats, "threads": args.threads, "bf16": args.bf16,
                "compiled": args.compiled, "device": "cuda" if gpu else "cpu",
            }  # fmt: skip
            # Asked first: a Python without torch is found out before anything compiles.
            other = ask(python, "torch_side.py", asked, threads=args.threads)
            record = compare(images, ours(args, model, images, work, batch), other)
            records.append({"model": model, "work": work, "batch": theirs} | record)
            append(args.results, records[-1] | stamp(args, start))
    show(rich_table(COLUMNS, records, title="Images a second beside PyTorch"))


def ours(
    args: TrainingBenchmark, model: str, images: int, work: str, batch: int | None
) -> dict[str, Any]:
    """Seconds of each repetition after a first, and what the first took to compile."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, *SHAPES[model]), dtype=np.uint8)
    split = Split(pixels, rng.integers(0, 10, images).astype(np.int32))
    channels = SHAPES[model][-1]
    prepare = ImagePrepare((0.13,) * channels, (0.31,) * channels)
    dataset = Dataset("random", split, split, split, 10, prepare, tuple("0123456789"))
    network = build_model(model, SHAPES[model], 10, bf16=args.bf16)
    steps = make_steps(network, dataset, momentum=0.9, weight_decay=5e-4, augmented=False)
    feed, learner = Feed(split), steps.init(jax.random.key(0))

    def train() -> Any:
        nonlocal learner
        rows = np.arange(images // batch * batch) if batch else np.arange(0)
        learner, *_ = run_epoch(
            steps, learner, feed, rows, np.ones(len(rows)), batch_size=batch or 1, lr=0.01,
            key=jax.random.key(1),
        )  # fmt: skip
        return learner.variables.params

    def look() -> Any:
        return collect(steps, learner.variables, feed)

    return clocked(train if work == "train" else look, args.repeats)


def clocked(work: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Wall and cpu-seconds of each call after a first, which compiles."""
    with lap() as read:
        jax.block_until_ready(work())
    compiled, wall, cpu = read().compile, [], []
    for _ in range(repeats):
        start, spent = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    return {"wall": wall, "cpu": cpu, "compile_seconds": compiled}


def compare(images: int, mine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Images a second of both, by wall and by cpu-seconds, and how many times PyTorch's ours is."""

    def rate(side: dict[str, Any], clock: str) -> float:
        return images / statistics.median(side[clock])

    return {
        "images_per_second": rate(mine, "wall"),
        "torch_per_second": rate(other, "wall"),
        "ratio": rate(mine, "wall") / rate(other, "wall"),
        "images_per_cpu_second": rate(mine, "cpu"),
        "torch_per_cpu_second": rate(other, "cpu"),
        "cpu_ratio": rate(mine, "cpu") / rate(other, "cpu"),
        "compile_seconds": mine["compile_seconds"],
        "torch": other["torch"],
    }


COLUMNS = fields(
    model="{}", work="{}", batch="{}", images_per_second="{:.0f}", torch_per_second="{:.0f}",
    ratio="{:.2f}", images_per_cpu_second="{:.0f}", torch_per_cpu_second="{:.0f}",
    cpu_ratio="{:.2f}", compile_seconds="{:.1f}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, TrainingBenchmark)
