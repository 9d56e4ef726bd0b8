"""What a selection of another size compiles: a first, a second and a tenth size, nothing kept.

    python -m experiments.bench.compilation

Three series of ten sizes, each from empty caches: budgets 5 % apart, a few examples more, a class
more. The gradients are synthetic, of a network with --features numbers before its last layer.
Seconds are those of tracing, lowering and compiling in a call. Before each series its size is
selected from once and forgotten again, which leaves what is no program's own: libraries' start.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.errors import no_such
from gradmatch_jax.gradients import last_layer_gradients
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset
from gradmatch_jax.selection.glister import Validation, glister
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.selection.subset import select_subset

ANEW = 0.5  # seconds: a solver was compiled, and not what moves arrays about


@dataclass(frozen=True)
class Compilation:
    """What is selected from, by what, how often."""

    n: int = 10_000
    classes: int = 10
    features: int = 84
    share: float = 0.02
    """The first budget's, of n."""
    sizes: int = 10
    kinds: tuple[str, ...] = ("per-gradient", "exact", "per-batch", "craig", "glister")
    quick: bool = False
    """Few examples, two sizes of one kind: a rehearsal."""
    results: Path = Path("results/compilation.jsonl")


QUICK = {"n": 200, "features": 4, "share": 0.1, "sizes": 2, "kinds": ("per-gradient",)}


class Size(NamedTuple):
    """Of what a call is given."""

    n: int
    classes: int
    budget: int


def series(args: Compilation) -> dict[str, list[Size]]:
    """Sizes near one another, by what differs.

    >>> series(Compilation(sizes=2))["budget"]
    [Size(n=10000, classes=10, budget=200), Size(n=10000, classes=10, budget=210)]
    """
    first, steps = Size(args.n, args.classes, round(args.share * args.n)), range(args.sizes)
    return {
        "budget": [first._replace(budget=round(first.budget * (1 + i / 20))) for i in steps],
        "examples": [first._replace(n=first.n + 7 * i) for i in steps],
        "classes": [first._replace(classes=first.classes + i) for i in steps],
    }


def chosen(kind: str, size: Size, features: int) -> Callable[[], Selection]:
    """The selection, of gradients that are made already."""
    rng = np.random.default_rng(size.n)
    logits = jnp.asarray(rng.standard_normal((size.n, size.classes)), jnp.float32)
    hidden = jnp.asarray(np.abs(rng.standard_normal((size.n, features))), jnp.float32)
    labels = np.arange(size.n) % size.classes
    gradients = last_layer_gradients(logits, hidden, labels)
    held = size.n // 10
    validation = Validation(logits[:held], hidden[:held], labels[:held])
    calls: dict[str, Callable[[], Selection]] = {
        "per-gradient": lambda: select_subset(
            gradients, size.budget, labels=labels, approximation="per_gradient"
        ),
        "exact": lambda: select_subset(gradients, size.budget, labels=labels),
        "per-batch": lambda: select_batches(gradients, size.budget, 20),
        "craig": lambda: select_coreset(gradients, size.budget, labels=labels),
        "glister": lambda: glister(gradients, validation, size.budget, eta=0.01),
    }
    if kind not in calls:
        raise no_such("kind of selection", kind, calls)
    return calls[kind]


def compiled(kind: str, sizes: list[Size], features: int) -> list[float]:
    """Seconds of compiling, a call a size, from empty caches."""
    seconds = []
    for i, size in enumerate((sizes[0], *sizes)):
        select = chosen(kind, size, features)
        with compile_seconds() as read:
            jax.block_until_ready(select())
        if i == 0:
            jax.clear_caches()
        else:
            seconds.append(read())
    return seconds


def main(args: Compilation) -> None:
    """Every series of every kind."""
    args = quickened(args, **QUICK) if args.quick else args
    jax.config.update("jax_enable_compilation_cache", False)
    records: list[dict[str, Any]] = []
    for kind in args.kinds:
        for name, sizes in series(args).items():
            start = time.perf_counter()
            seconds = compiled(kind, sizes, args.features)
            record = {
                "kind": kind,
                "differs": name,
                "first": seconds[0],
                "second": seconds[1],
                "last": seconds[-1],
                "all": sum(seconds),
                "anew": sum(s > ANEW for s in seconds[1:]),
                "seconds": seconds,
            }
            records.append(record)
            append(args.results, record | stamp(args, start))
    show(rich_table(COLUMNS, records, title=f"Seconds of compiling, {args.sizes} sizes"))


COLUMNS = fields(
    kind="{}", differs="{}", first="{:.2f}", second="{:.2f}", last="{:.2f}", all="{:.2f}",
    anew="{}",
)  # fmt: skip


if __name__ == "__main__":
    command(main, Compilation)
