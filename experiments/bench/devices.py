"""Selection at ImageNet's size against the count of devices: seconds, memory and bytes moved.

    python -m experiments.bench.devices --scale 0.1          # host devices of this machine's cores
    python -m experiments.bench.devices --devices 1 2 4 8    # in full, on a host with eight GPUs

The gradients of `imagenet_size`, split by rows over the first so many devices, each count in a
process of its own. On a CPU the devices are threads of one process (XLA's host devices), and share
its cores and its memory: what they show there is that the work divides and what is moved, not how
fast it would be. `bytes_per_device` is what a device sends, by the programs' shapes.

Given again, the same command goes on after the measurements that are in --results already.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from experiments.bench.cifar10_selection import alone
from experiments.bench.imagenet_size import CLASSES, ImageNetSize, class_sizes, problem
from experiments.bench.timing import timed
from experiments.command import command, quickened, show
from experiments.records import append, fields, read, stamp
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.report.tables import percent, rich_table
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset
from gradmatch_jax.selection.glister import Validation, glister
from gradmatch_jax.selection.groups import bucket
from gradmatch_jax.selection.subset import select_subset

Variant = Literal["per-class", "per-batch", "craig", "glister"]
EVEN = 64  # rows are cut to a multiple, so that 1 to 64 devices divide them
HELD = 5000  # validation rows of GLISTER


@dataclass(frozen=True)
class Devices:
    """What to select from what, on how many devices."""

    devices: tuple[int, ...] = (1, 2, 4, 8)
    scale: float = 1.0
    """Share of every class."""
    classes: int = CLASSES
    features: int = 512
    fraction: float = 0.1
    variants: tuple[Variant, ...] = ("per-class", "per-batch", "craig", "glister")
    batch_size: int = 256
    repeats: int = 1
    seed: int = 0
    quick: bool = False
    """Ten small classes on two devices: a rehearsal."""
    results: Path = Path("results/devices.jsonl")


QUICK = {"scale": 0.02, "classes": 10, "features": 16, "batch_size": 8, "devices": (1, 2)}


def main(args: Devices) -> None:
    """Measure every variant on every count of devices, each in a fresh process."""
    args = quickened(args, **QUICK) if args.quick else args
    start, records, flags = time.perf_counter(), [], os.environ.get("XLA_FLAGS", "")
    known = measured(args)
    for variant in args.variants:
        for devices in args.devices:
            if (variant, devices) in known:
                records.append(known[variant, devices])
                continue
            # Read by the child as it starts JAX; an accelerator's devices are as they are.
            host = f"--xla_force_host_platform_device_count={devices}"
            os.environ["XLA_FLAGS"] = f"{flags} {host}".strip()
            records.append(alone(select, args, variant, devices))
            append(args.results, records[-1] | stamp(args, start))
            print(variant, devices, f"{records[-1]['seconds']:.1f} s", flush=True)
    os.environ["XLA_FLAGS"] = flags
    show(rich_table(COLUMNS, records, title="Selection against the count of devices"))


def measured(args: Devices) -> dict[tuple[str, int], dict[str, Any]]:
    """The records that there are of these settings, by variant and devices."""
    each = {"devices", "variants"}
    wanted = {k: v for k, v in vars(args).items() if not (k in each or isinstance(v, Path))}
    return {
        (record["variant"], record["devices"]): record
        for record in read(args.results)
        if {k: v for k, v in record["config"].items() if k not in each} == wanted
    }


def placed(gradients: LastLayerGradients, devices: int) -> LastLayerGradients:
    """The gradients' first rows, a multiple of EVEN, split over the first devices."""
    if devices > jax.device_count():
        raise UserError(
            f"there are {jax.device_count()} devices here; leave out --devices {devices}"
        )
    count = len(gradients.features) // EVEN * EVEN
    gradients = LastLayerGradients(gradients.residuals[:count], gradients.features[:count])
    if devices == 1:
        return gradients
    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("rows",), axis_types=(AxisType.Auto,))
    return jax.device_put(gradients, NamedSharding(mesh, PartitionSpec("rows")))


def select(args: Devices, variant: Variant, devices: int) -> dict[str, Any]:
    """One selection: its figures."""
    size = ImageNetSize(args.scale, args.classes, args.features, seed=args.seed)
    gradients, labels = problem(size)
    gradients = jax.block_until_ready(placed(gradients, devices))
    labels = labels[: len(gradients.features)]
    held = min(HELD, len(labels))
    validation = Validation(
        np.asarray(gradients.residuals[:held]), np.asarray(gradients.features[:held]), labels[:held]
    )

    def work():
        budget: dict[str, Any] = {"fraction": args.fraction}
        if variant == "per-batch":
            return select_batches(gradients, batch_size=args.batch_size, **budget)
        if variant == "craig":
            return select_coreset(gradients, labels=labels, **budget)
        if variant == "glister":
            return glister(gradients, validation, eta=0.01, **budget)
        return select_subset(gradients, labels=labels, approximation="per_gradient", **budget)

    answer, times = timed(work, args.repeats)
    return {
        "variant": variant,
        "devices": devices,
        "platform": jax.default_backend(),
        "fraction": args.fraction,
        "n": len(labels),
        "C": args.classes,
        "E": args.features,
        "k": int(answer.size),
        "bytes_per_device": moved(args, variant, devices, len(labels)),
        "chosen": int(np.sum(np.asarray(answer.indices, np.int64))),  # the same on any count
    } | times


def moved(args: Devices, variant: Variant, devices: int, n: int) -> int:
    """Bytes that a device sends in a selection, about: rings of `devices`, float32.

    A class's rows come by reduce-scatters of m padded rows a class; of mini-batches the residuals
    and features by an all-to-all, the features once round the ring, the Gram matrix by one
    all-reduce; GLISTER's gains by an all-gather a round, its picks and gradient by all-reduces.

    >>> moved(Devices(), "per-batch", 1, 1000)
    0
    """
    if devices == 1:
        return 0
    away = (devices - 1) / devices
    width = 1 + args.features
    if variant == "per-batch":
        batches = round(n / args.batch_size)
        once = n * (args.classes + width) / devices + 2 * batches * (batches + 1)
        return round(4 * (away * once + n * width))
    if variant == "glister":
        k = round(args.fraction * n)
        at_once = max(1, int(np.ceil(0.03 * k)))
        row = args.classes + args.features
        each = n + 2 * at_once * row + 2 * args.classes * width
        return round(-(-k // at_once) * away * 4 * each)
    largest = int(class_sizes(args.classes, args.scale).max())
    if variant == "per-class":  # one column of the residuals, the features, a score
        return round(away * 4 * args.classes * bucket(largest) * (1 + width + 1))
    return round(away * 4 * args.classes * largest * (args.classes + args.features))


COLUMNS = fields(
    variant="{}", devices="{}", fraction=percent, n="{}", k="{}", seconds="{:.2f}",
    compile_seconds="{:.1f}", bytes_per_device="{:,}", peak_gb="{:.2f}", peak_device_gb="{:.1f}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, Devices)
