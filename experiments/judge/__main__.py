"""Does any selection beat a fresh random subset at equal cost?

    python -m experiments.judge run --data-dir FOLDER [--cases mnist-1 trec-10] [--minutes 9.5]
    python -m experiments.judge table [--cases mnist-1] [--out FILE.md]
    python -m experiments.judge run --quick        # a rehearsal on the embedded digits

Each arm (`cases.ARMS`) chooses its learning rate by the validation accuracy of two seeds, and is
then run on five; a noisy case takes the clean one's rate and is run once. Test accuracy is of the
last epoch. FOLDER holds mnist, cifar10 and text as `cases.CASES` names them; what it lacks is left
out. Resumable; one process a core.
"""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.command import status_of
from experiments.judge.cases import ARMS, CASES, QUICK, RATES, REFERENCE, SEEDS, TUNED_ON, Arm, Case
from experiments.judge.overview import overview
from experiments.judge.verdict import Record, chosen, verdict
from experiments.on_ray import Ray
from experiments.records import read
from experiments.runs import Recorded, run_all
from experiments.tabled import COSTS, Runs, write_tables
from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.report.tables import Column
from gradmatch_jax.sweep import Grid, Job, plan
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.presets import PRESETS


@dataclass(frozen=True)
class Judged:
    """Which cases and arms, and where things are."""

    cases: tuple[str, ...] = ()
    """None named: all of them that a CPU does."""
    arms: tuple[str, ...] = ()
    """None named: all of them."""
    quick: bool = False
    """Digits, two arms, two epochs: a rehearsal."""
    results: Path = Path("results")
    """The records go to RESULTS/judge_CASE.jsonl."""

    @property
    def of(self) -> tuple[Case, ...]:
        """The cases."""
        if self.quick:
            return (QUICK,)
        usual = [name for name, case in CASES.items() if not case.named]
        return tuple(_named("case", name, CASES) for name in self.cases or usual)

    @property
    def methods(self) -> tuple[Arm, ...]:
        """The arms; a rehearsal has the first two and the last."""
        known = {arm.name: arm for arm in ARMS}
        if self.quick and not self.arms:
            return (*ARMS[:2], ARMS[-1])
        return tuple(_named("arm", name, known) for name in self.arms or known)

    def file(self, case: Case) -> Path:
        """Where a case's records are."""
        moved = self.quick and self.results == Path("results")
        return (Path("runs/quick") if moved else self.results) / f"judge_{case.name}.jsonl"


@dataclass(frozen=True)
class Run(Judged):
    """Do the runs that have no record yet."""

    data_dir: Path | None = None
    """Folder with the data sets' folders."""
    runs: Path = Path("runs/judge")
    """The runs go to RUNS/CASE."""
    minutes: float = math.inf
    """Stop by then; the same command goes on."""
    on: Literal["here", "ray"] = "here"
    """In this process, or over a Ray cluster."""
    ray: Ray = field(default_factory=Ray)


@dataclass(frozen=True)
class Table(Judged):
    """Print or write the verdict."""

    out: Path | None = None
    """Markdown file; None prints."""


def _named(kind: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise no_such(kind, name, known)
    return known[name]


def run(args: Run) -> None:
    """Tune, then run every seed at the rate that was chosen, case by case."""
    until = time.time() + 60 * args.minutes
    for case in args.of:
        folder = args.data_dir and args.data_dir / case.folder
        if case.folder and args.data_dir is None:
            raise UserError("--data-dir is missing: the folder of mnist, cifar10 and text")
        if folder is not None and not any(folder.parent.glob(f"{folder.name}*")):
            print(f"{case.name}: there is no {folder}, left out", flush=True)
            continue
        base = _base(case, folder)
        spread = args.ray if args.on == "ray" else None
        for stage in (tuning, judging):
            found = [job for arm in args.methods for job in stage(args, case, arm, base)]
            run_all(found, args.file(case), until=until, spread=spread)


def _base(case: Case, folder: Path | None) -> TrainConfig:
    return TrainConfig(
        dataset=case.dataset, model=case.model, data_dir=folder, epochs=case.epochs,
        eval_every=case.epochs, **case.settings,
    )  # fmt: skip


def _jobs(
    case: Case, arm: Arm, base: TrainConfig, seeds: tuple[int, ...], *rates: float
) -> list[Job]:
    variants = tuple({"lr": rate} | dict(arm.settings) for rate in rates)
    return plan(Grid(base, (arm.strategy,), (case.fraction,), seeds, variants), Path(case.name))


def rates_of(case: Case) -> tuple[float, ...]:
    """The learning rates to choose from."""
    usual = case.settings.get("lr", PRESETS[case.dataset].lr)
    return tuple(float(f"{factor * usual:.6g}") for factor in RATES)


def tuning(args: Judged, case: Case, arm: Arm, base: TrainConfig) -> list[Job]:
    """An arm's runs at every rate; none where another case has chosen."""
    if case.tuned_as is not None:
        return []
    return _placed(args, _jobs(case, arm, base, TUNED_ON, *rates_of(case)))


def judging(args: Judged, case: Case, arm: Arm, base: TrainConfig) -> list[Job]:
    """An arm's runs of all seeds, once its rate is known."""
    rate = chosen_rate(args, case, arm)
    return [] if rate is None else _placed(args, _jobs(case, arm, base, SEEDS, rate))


def _placed(args: Judged, jobs: list[Job]) -> list[Job]:
    root = args.runs if isinstance(args, Run) else Path()
    return [job._replace(folder=root / job.folder) for job in jobs]


def chosen_rate(args: Judged, case: Case, arm: Arm) -> float | None:
    """What an arm's validation accuracies say, or the clean case's do."""
    tuned = case if case.tuned_as is None else CASES[case.tuned_as]
    return chosen(_records(args, tuned, arm, TUNED_ON, *rates_of(tuned)), TUNED_ON)


def _records(
    args: Judged, case: Case, arm: Arm, seeds: tuple[int, ...], *rates: float
) -> list[Record]:
    """An arm's records, by the settings of its runs."""
    known = Recorded(read(args.file(case)))
    return [r for job in _jobs(case, arm, _base(case, None), seeds, *rates) for r in known.of(job)]


@dataclass(frozen=True)
class Row(Runs):
    """An arm on a case."""

    arm: str
    rate: float
    references: dict[str, list[Record]]


def rows(args: Judged, case: Case) -> Iterator[Row]:
    """Every arm whose rate is chosen."""
    found = {}
    for arm in args.methods:
        if (rate := chosen_rate(args, case, arm)) is not None:
            found[arm.name] = rate, _records(args, case, arm, SEEDS, rate)
    references = {name: found[name][1] for name in (REFERENCE, ARMS[1].name) if name in found}
    for name, (rate, records) in found.items():
        yield Row(records, name, rate, references)


def _p(row: Row, reference: str) -> str | None:
    if row.arm == reference or reference not in row.references:
        return None
    v = verdict(row.runs, row.references[reference])
    if v.difference is None:
        return None
    said = ", ".join("–" if p is None else f"{p:.3f}" for p in (v.p_t, v.p_wilcoxon))
    return f"{v.difference:+.2f} ({said}; n = {v.n})"


COLUMNS: list[Column[Row]] = [
    Column("arm", lambda row: row.arm),
    Column("lr", lambda row: f"{row.rate:g}"),
    Column("runs", lambda row: f"{len(row.ended)} of {len(SEEDS)}"),
    Column("test accuracy", lambda row: row.accuracy(2)),
    Column(f"over {REFERENCE} (p of t, of Wilcoxon)", lambda row: _p(row, REFERENCE)),
    Column(f"over {ARMS[1].name}", lambda row: _p(row, ARMS[1].name)),
    *COSTS,
]  # fmt: skip


def table(args: Table) -> None:
    """All cases side by side, then a table a case."""
    found = {case.name: list(rows(args, case)) for case in args.of}
    whole = overview(found)
    write_tables([(f"All, over {REFERENCE}", *whole), *((k, COLUMNS, v) for k, v in found.items())],
                 args.out)  # fmt: skip


Command = (
    Annotated[Run, tyro.conf.subcommand("run")] | Annotated[Table, tyro.conf.subcommand("table")]
)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 2 and one line on bad input."""
    return status_of("experiments.judge", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    asked: Any = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        args=arguments, prog="python -m experiments.judge", description=__doc__,
    )  # fmt: skip
    if isinstance(asked, Run):
        run(asked)
    else:
        table(asked)


if __name__ == "__main__":
    sys.exit(main())
