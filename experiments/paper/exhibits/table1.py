"""Table 1: the data sets, as they are loaded."""

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.study import Asked, Measurement, Piece, Run
from experiments.records import append, read, stamp
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.tables import Column, markdown


class Described(NamedTuple):
    """A row of the paper's table."""

    classes: int
    train: int
    validation: int | None  # None: it has none of its own
    test: int
    shape: tuple[int, ...]


# As printed. SVHN has 26,032 test images there as here; the tables.json has no Table 1.
PAPER = {
    "cifar10": Described(10, 50_000, None, 10_000, (32, 32, 3)),
    "mnist": Described(10, 60_000, None, 10_000, (28, 28)),
    "svhn": Described(10, 73_257, None, 26_032, (32, 32, 3)),
    "cifar100": Described(100, 50_000, None, 10_000, (32, 32, 3)),
    "imagenet": Described(1000, 1_281_167, 50_000, 100_000, (224, 224, 3)),
}


def pieces(asked: Asked, file: Path) -> Iterator[Piece]:
    """Each set that is in the folder, in its subfolder of that name: loaded and described.

    Raises:
        UserError: there is no folder, or none of the sets in it.
    """
    if asked.data_dir is None and not asked.quick:
        raise UserError("--data-dir is missing: name the folder that has the data sets' folders")
    parent = None if asked.quick else asked.data_dir
    folders = {name: parent and parent / name for name in names_of(asked)}
    there = {name: f for name, f in folders.items() if f is None or f.is_dir()}
    if not there:
        raise UserError(
            f"--data-dir {asked.data_dir} has none of the folders {', '.join(folders)}: "
            "name the folder that has them"
        )
    known = {run["dataset"] for run in read(file)}
    for name, folder in there.items():
        if name not in known:
            yield functools.partial(_describe, name, folder, file)


def _describe(name: str, folder: Path | None, file: Path) -> None:
    """Load a data set and append what it is."""
    from gradmatch_jax.data import load_dataset

    start = time.perf_counter()
    data = load_dataset(name, folder, validation_fraction=0.1, seed=0)
    append(file, {
        "dataset": name, "classes": data.num_classes, "train": len(data.train),
        "validation": len(data.validation), "test": len(data.test),
        "shape": list(data.train.shape),
    } | stamp({"dataset": name, "validation_fraction": 0.1, "seed": 0}, start))  # fmt: skip
    print(name, "loaded", flush=True)


def names_of(asked: Asked) -> tuple[str, ...]:
    """The data sets that are described: a rehearsal's is embedded."""
    return ("digits",) if asked.quick else tuple(PAPER)


def _count(records: Sequence[Run], asked: Asked) -> tuple[int, int]:
    wanted = names_of(asked)
    return len({run["dataset"] for run in records} & set(wanted)), len(wanted)


DATASETS = Measurement(
    "datasets", "every", pieces, _count, hours=0.1, hardware="any machine with the files"
)


def _table1(evidence: Evidence) -> str:
    found = {run["dataset"]: run for run in evidence.runs(DATASETS)}
    names = list(dict.fromkeys((*PAPER, *found)))

    def said(name: str) -> str | None:
        row = PAPER.get(name)
        if row is None:
            return None
        counts = (row.train, row.validation or 0, row.test)
        pixels = "×".join(map(str, row.shape))
        return f"{row.classes}; {' / '.join(f'{c:,}' for c in counts)}; {pixels}"

    def ours(name: str) -> str:
        run = found.get(name)
        if run is None:
            return "not loaded here"
        counts = (run["train"], run["validation"], run["test"])
        pixels = "×".join(map(str, run["shape"]))
        return f"{run['classes']}; {' / '.join(f'{c:,}' for c in counts)}; {pixels}"

    columns = [
        Column[str]("data set", lambda name: name),
        Column("paper: classes; train / validation / test; inputs", said),
        Column("as loaded", ours),
    ]
    return markdown(columns, names) + (
        "\nThe paper holds 10 % of the training set out where there is no validation split, after "
        "these counts; as loaded, they are out. ImageNet's test labels are not public: its "
        "validation set is tested on.\n"
    )


TABLE1 = Exhibit(
    "table1", "The data sets", "Five sets of pictures, of 10 to 1000 classes.", (DATASETS,), _table1
)
