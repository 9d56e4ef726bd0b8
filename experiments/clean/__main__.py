"""When is a small clean validation set worth something as a target, and from which size on?

    python -m experiments.clean run --data-dir FOLDER [--cases mnist-noise-0.45] [--minutes 9.5]
    python -m experiments.clean table [--cases trec-sentences] [--out FILE.md]
    python -m experiments.clean run --quick        # a rehearsal on the embedded digits

A clean set of each size is cut from the training data, which are then spoilt: labels turned,
classes cut, another source mixed in (`cases.IN_ORDER`). Arms train on the rest, with the clean set
as a target or without it, on the clean set alone, or on both. All see as many examples, at the data
set's own learning rate; accuracy is the test set's at the last epoch. FOLDER holds mnist and text.
Resumable; one process a core.
"""

import functools
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from experiments.clean.cases import ALONE, CASES, QUICK, REFERENCE, Arm, Case
from experiments.clean.data import known, mixed, sourced
from experiments.command import status_of
from experiments.judge.verdict import Record, verdict
from experiments.records import read
from experiments.runs import Ended, here, run_all, run_name
from experiments.tabled import COSTS, Runs, write_tables
from gradmatch_jax.data import Dataset
from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.report.tables import Column
from gradmatch_jax.sweep import Grid, Job, plan
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import TrainConfig


@dataclass(frozen=True)
class Asked:
    """Which cases, and where things are."""

    cases: tuple[str, ...] = ()
    """None named: all of them."""
    quick: bool = False
    """Digits, two sizes, two epochs: a rehearsal."""
    results: Path = Path("results")
    """The records go to RESULTS/clean_CASE.jsonl."""

    @property
    def of(self) -> tuple[Case, ...]:
        """The cases."""
        if self.quick:
            return (QUICK,)
        if unknown := [name for name in self.cases if name not in CASES]:
            raise no_such("case", unknown[0], CASES)
        return tuple(CASES[name] for name in self.cases or CASES)

    def file(self, case: Case) -> Path:
        """Where a case's records are."""
        moved = self.quick and self.results == Path("results")
        return (Path("runs/quick") if moved else self.results) / f"clean_{case.name}.jsonl"


@dataclass(frozen=True)
class Run(Asked):
    """Do the runs that have no record yet."""

    data_dir: Path | None = None
    """Folder with the data sets' folders."""
    runs: Path = Path("runs/clean")
    """The runs go to RUNS/CASE."""
    minutes: float = math.inf
    """Stop by then; the same command goes on."""


@dataclass(frozen=True)
class Table(Asked):
    """Print or write a table a case."""

    out: Path | None = None
    """Markdown file; None prints."""


class Planned(NamedTuple):
    """A run, and what it is a run of."""

    job: Job
    case: Case
    arm: Arm
    size: int

    @property
    def facts(self) -> dict[str, Any]:
        """What its record says beside its configuration."""
        return {
            "case": self.case.name, "arm": self.arm.name, "clean_size": self.size,
            "mixture": self.case.mixture, "source": self.arm.source,
        }  # fmt: skip


def planned(case: Case, folder: Path | None = None, root: Path = Path()) -> list[Planned]:
    """Every run of a case: by seed, then size, then arm.

    Args:
        case: what is run.
        folder: of its data.
        root: where the runs' folders go.
    """
    made = []
    for seed, size in itertools.product(case.seeds, case.sizes):
        arms = [arm for arm in case.arms if size == case.sizes[0] or not arm.blind]
        made += [
            Planned(_job(case, arm, size, seed, folder, root), case, arm, size) for arm in arms
        ]
    return made


def _job(case: Case, arm: Arm, size: int, seed: int, folder: Path | None, root: Path) -> Job:
    """One run: the settings that it does not heed are left out."""
    epochs, fraction, rest = case.epochs, case.fraction, case.rest(size)
    if arm.source == "clean":  # as many examples, on fewer
        epochs = round(epochs * fraction * rest / size)
    if arm.source == "both":  # as many of more
        fraction *= rest / (rest + size)
    base = TrainConfig(
        dataset=case.dataset, model=case.model, data_dir=folder, epochs=epochs, eval_every=epochs,
        validation_fraction=size / case.rows, **case.settings,
    )  # fmt: skip
    [job] = plan(Grid(base, (arm.strategy,), (fraction,), (seed,), (arm.settings,)), root)
    name = "".join(c if c.isalnum() else "-" for c in arm.name.replace(",", ""))
    return job._replace(folder=root / case.name / f"{name}-{size}-seed{seed}")


def run(args: Run) -> None:
    """Every run, case by case."""
    until = time.time() + 60 * args.minutes
    for case in args.of:
        folder = args.data_dir and args.data_dir / case.folder
        if case.folder and args.data_dir is None:
            raise UserError("--data-dir is missing: the folder of mnist and text")
        if folder is not None and not any(folder.parent.glob(f"{folder.name}*")):
            print(f"{case.name}: there is no {folder}, left out", flush=True)
            continue
        found = {each.job.folder: each for each in planned(case, folder, args.runs)}
        spread = functools.partial(_told, found, _data_of(case, found))
        run_all([each.job for each in found.values()], args.file(case), until=until, spread=spread)


def _data_of(case: Case, found: dict[Path, Planned]) -> Callable[[Job], Dataset]:
    """What each job trains on; what the arms of one size and seed share is made once."""
    configs = {(each.size, each.job.config.seed): each.job.config for each in found.values()}

    @functools.lru_cache(maxsize=1)
    def spoilt(size: int, seed: int) -> Dataset:
        config = configs[size, seed]
        return mixed(load(config), case.mixture, config.data_dir, seed)

    def data(job: Job) -> Dataset:
        each = found[job.folder]
        return sourced(spoilt(each.size, job.config.seed), each.arm.source)

    return data


def _told(
    found: dict[Path, Planned], data: Callable[[Job], Dataset], jobs: list[Job], until: float
) -> Iterator[Ended]:
    """As `here`, the records with what they are runs of."""
    for job, record in here(jobs, until, data=data):
        yield job, record | found[job.folder].facts


@dataclass(frozen=True)
class Row(Runs):
    """An arm at a size of the clean set."""

    arm: Arm
    size: int
    wanted: int
    reference: list[Record]
    alone: list[Record]  # the clean set's own, of this size


def rows(args: Asked, case: Case) -> list[Row]:
    """What has been run of a case, by size."""
    records = {record["run"]: record for record in read(args.file(case))}
    runs: dict[tuple[str, int], list[Record]] = {}
    arms = {arm.name: arm for arm in case.arms}
    for each in planned(case):
        if (record := records.get(run_name(each.job))) is not None:
            runs.setdefault((each.arm.name, each.size), []).append(record)
    reference = runs.get((REFERENCE, case.sizes[0]), [])
    found = [
        Row(mine, arms[name], size, len(case.seeds), reference, runs.get((ALONE.name, size), []))
        for (name, size), mine in runs.items()
    ]
    return sorted(found, key=lambda row: (not row.arm.blind, row.size))


def _over(row: Row, other: list[Record]) -> str | None:
    """Points over another arm, the mean of the seeds' pairs."""
    if other is row.runs or not row.ended:
        return None
    difference = verdict(row.runs, other).difference
    return None if difference is None else f"{difference:+.1f}"


COLUMNS: list[Column[Row]] = [
    Column("clean", lambda row: "any" if row.arm.blind else f"{row.size:,}"),
    Column("arm", lambda row: row.arm.name),
    Column("runs", lambda row: f"{len(row.ended)} of {row.wanted}"),
    Column("test accuracy", lambda row: row.accuracy(1)),
    Column(f"over {REFERENCE}", lambda row: _over(row, row.reference)),
    Column("over the clean set alone", lambda row: _over(row, row.alone)),
    *COSTS,
]  # fmt: skip


def table(args: Table) -> None:
    """A table a case."""
    write_tables([(case.name, COLUMNS, rows(args, case)) for case in args.of], args.out)


Command = (
    Annotated[Run, tyro.conf.subcommand("run")] | Annotated[Table, tyro.conf.subcommand("table")]
)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 2 and one line on bad input."""
    with known():
        return status_of("experiments.clean", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    asked: Any = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        args=arguments, prog="python -m experiments.clean", description=__doc__,
    )  # fmt: skip
    if isinstance(asked, Run):
        run(asked)
    else:
        table(asked)


if __name__ == "__main__":
    sys.exit(main())
