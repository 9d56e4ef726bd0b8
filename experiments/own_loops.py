"""The loops of `examples/` against a fixed random subset of the same size, seed by seed.

    python -m experiments.own_loops

Each is run as it stands in its file: `train(seed=..)`, and `train("random", seed)`, which draws
once. A record a loop; the transformer's has a fresh draw beside them, and its texts may be a file's
(--names loop_transformer --texts FOLDER/NAME).
"""

import importlib.util
import inspect
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.errors import no_such
from gradmatch_jax.report.tables import rich_table

EXAMPLES = Path(__file__).parents[1] / "examples"
LOOPS = tuple(sorted(path.stem for path in EXAMPLES.glob("loop_*.py")))
LOWER = ("loop_regression",)  # its figure is an error
PACKAGES = {"loop_pytorch": "torch", "loop_equinox": "equinox"}


@dataclass(frozen=True)
class OwnLoops:
    """Which loops, and how often."""

    names: tuple[str, ...] = LOOPS
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 0
    """Of each; 0: as in its file."""
    texts: Path | None = None
    """FOLDER/NAME of NAME.train.tsv and NAME.test.tsv, for loop_transformer; its own where not."""
    quick: bool = False
    """One loop, one epoch: a rehearsal."""
    results: Path = Path("results/own_loops.jsonl")


COLUMNS = fields(
    loop="{}", texts="{}", strategy="{}", chosen="{:.2f}", drawn="{:.2f}", fresh="{:.2f}",
    better_seeds="{}",
)  # fmt: skip


def main(args: OwnLoops) -> None:
    """Run the loops, append the records, print the table."""
    args = quickened(args, names=("loop_nnx",), seeds=(0,), epochs=1) if args.quick else args
    for name in args.names:
        if name not in LOOPS:
            raise no_such("loop", name, LOOPS)
    rows = []
    for name in args.names:
        start = time.perf_counter()
        record = {"loop": name} | compared(name, args)
        packages = [PACKAGES[name]] if name in PACKAGES else []
        texts = None if args.texts is None else args.texts.name
        append(args.results, record | stamp(args, start, packages=packages, texts=texts))
        means = {k: statistics.fmean(v) for k, v in record.items() if isinstance(v, list)}
        rows.append(record | means | {"better_seeds": f"{record['better']}/{len(args.seeds)}"})
    show(rich_table(COLUMNS, rows, title="Test accuracy, %; of regression the error"))


def loop(name: str) -> Any:
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compared(name: str, args: OwnLoops) -> dict[str, Any]:
    """A loop's figures by seed, chosen and drawn, and in how many seeds the former are better."""
    module = loop(name)
    asked: dict[str, Any] = {"epochs": args.epochs} if args.epochs else {}
    kinds = {"chosen": inspect.signature(module.train).parameters["strategy"].default}
    kinds |= {"drawn": "random"}
    if name == "loop_transformer":
        kinds |= {"fresh": "fresh"}
        asked |= {"data": module.read(args.texts)} if args.texts is not None else {}
    found = {
        kind: [float(module.train(strategy, seed, **asked)) for seed in args.seeds]
        for kind, strategy in kinds.items()
    }
    sign = -1 if name in LOWER else 1
    pairs = zip(found["chosen"], found["drawn"], strict=True)
    better = sum(sign * chosen > sign * drawn for chosen, drawn in pairs)
    texts = None if args.texts is None or name != "loop_transformer" else args.texts.name
    return {"strategy": kinds["chosen"], "texts": texts} | found | {"better": better}


if __name__ == "__main__":
    command(main, OwnLoops)
