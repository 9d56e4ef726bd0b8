"""Every table and figure of the paper, ours beside it.

    python -m experiments.paper list                              # what there is, hours left
    python -m experiments.paper run table3 --data-dir FOLDER      # what is missing of its runs
    python -m experiments.paper table table3 [--form methods] [--out FILE.md]
    python -m experiments.paper figure figure3a --out FILE.svg    # or .png, .pdf
    python -m experiments.paper report --out FILE.html            # all of it on one page
    python -m experiments.paper run figure4a --quick              # a rehearsal of a minute
    python -m experiments.paper run table2 --data-dir FOLDER --minutes 9.5 --on ray --ray.run-gpus 1

NAME is table1 ... table11, figure1, figure3a ... figure3g, figure4a ... figure4e, and mnistnet,
lambda and weighting, which the paper does not have; `table` also takes a file of records of runs.
Runs are resumable: start the same command once a core for several workers, each on a core of its
own (taskset). `--strategies`, `--fractions` and `--seeds` name a part. Of a name with several data
sets `--data-dir` is the folder that has theirs (mnist, cifar10, ...); those that it lacks are left
out. Of one data set it may be that one's own.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from experiments.command import status_of
from experiments.paper.exhibit import Exhibit, Source, stand
from experiments.paper.exhibits import IN_ORDER, find
from experiments.paper.named import (
    check_records,
    check_strategies,
    make_folder_of,
    of_studies,
    with_data,
)
from experiments.paper.study import Asked, State
from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.report.tables import Column, rich_table

Name = tyro.conf.Positional[str]


@dataclass(frozen=True)
class Run(Asked):
    """Do the runs of a table or figure that have no record yet."""

    name: Name = ""
    """table3, figure4a, ...; see `list`."""
    studies: tuple[str, ...] = ()
    """Of these sources alone, by the names of their files: cifar10_lenet is the half of table2 that
    a CPU does. None named: all of them."""


@dataclass(frozen=True)
class Table:
    """Print or write a table, or the numbers of a figure, in Markdown."""

    name: Name
    """table3, figure4a, ...; or a file of records, FILE.jsonl."""
    seeds: tuple[int, ...] = ()
    """Of these seeds alone. None named: all there are."""
    quick: bool = False
    """Of the rehearsal."""
    form: Literal["runs", "methods"] = "runs"
    """A row a strategy and fraction, or a method (table3, mnistnet)."""
    results: Path = Path("results")
    out: Path | None = None
    """Markdown file; None prints."""


@dataclass(frozen=True)
class Figure:
    """Draw a figure."""

    name: Name
    """figure1, figure3a, ...; see `list`."""
    seeds: tuple[int, ...] = ()
    """Of these seeds alone. None named: all there are."""
    quick: bool = False
    """Of the rehearsal."""
    results: Path = Path("results")
    out: Path | None = None
    """An .svg, .png or .pdf; beside an .svg NAME-narrow.svg, for a phone. None, of all seeds:
    RESULTS/figures/NAME.svg, or the rehearsal's."""


@dataclass(frozen=True)
class List:
    """Every table and figure: done, partly or not run; hours left, and on what."""

    seeds: tuple[int, ...] = ()
    quick: bool = False
    """Of the rehearsal."""
    results: Path = Path("results")


@dataclass(frozen=True)
class Report:
    """Everything in the records on one page that needs nothing but itself."""

    out: Path
    quick: bool = False
    """Of the rehearsal."""
    results: Path = Path("results")


def run(args: Run) -> None:
    """Do what is missing of one exhibit, source by source."""
    until = time.time() + 60 * args.minutes
    asked = of_studies(find(args.name), args.studies)
    check_strategies(asked, args)
    for source, folder in with_data(asked, args):
        minutes = max(0.0, (until - time.time()) / 60)
        source.run(dataclasses.replace(args, data_dir=folder, minutes=minutes))
    for source in asked:
        print(f"{source.name}: {source.state(args)}")


def table(args: Table) -> None:
    """Print or write one."""
    if args.out is None:
        print(_table(args), end="")
        return
    make_folder_of(args.out)
    text = _table(args)
    with explained(f"--out {args.out}"):
        args.out.write_text(text, encoding="utf-8")


def _table(args: Table) -> str:
    from experiments.paper.exhibit import Evidence
    from experiments.paper.lines import by_fraction
    from experiments.paper.methods import methods
    from experiments.runs import read_runs

    if args.name.endswith(".jsonl"):
        file = Path(args.name)
        if not file.is_file():
            raise UserError(f"no {file}: name a file of records, or a table (see `list`)")
        runs = [run for run in read_runs(file) if not args.seeds or run["seed"] in args.seeds]
        return {"runs": by_fraction, "methods": methods}[args.form](runs)
    asked = Asked(seeds=args.seeds, quick=args.quick, results=args.results)
    check_records(asked)
    exhibit, evidence = find(args.name), Evidence(asked)
    if args.form == "runs":
        return exhibit.table(evidence)
    if exhibit.short is None:
        raise UserError(f"{args.name} has no --form methods: leave it out")
    return exhibit.short(evidence)


def figure(args: Figure) -> None:
    """Draw one."""
    from experiments.paper.draw import save
    from experiments.paper.exhibit import Evidence
    from gradmatch_jax.report.drawing import NARROW, WIDE

    exhibit = find(args.name)
    if exhibit.figure is None:
        raise UserError(f"{args.name} is a table: `python -m experiments.paper table {args.name}`")
    asked = Asked(seeds=args.seeds, quick=args.quick, results=args.results)
    check_records(asked)
    if args.seeds and args.out is None:  # the figure of all the seeds would be written over
        raise UserError("--seeds is a part of the figure: name its file, --out FILE.svg")
    out = args.out or asked.records / "figures" / f"{args.name}.svg"
    if out.suffix not in (".svg", ".png", ".pdf"):
        raise UserError(f"--out {out}: name an .svg, .png or .pdf")
    make_folder_of(out)
    shapes = {out: WIDE}
    if out.suffix == ".svg":  # pages show a phone the figure drawn for it
        shapes[out.with_name(f"{out.stem}-{NARROW.name}.svg")] = NARROW
    for file, shape in shapes.items():
        drawn = exhibit.figure(Evidence(asked), shape)
        with explained(f"--out {file}"):
            save(drawn, file)
        print(file)


def listing(args: List) -> None:
    """Print every exhibit, a line a source: what there is of it, what is left, on what."""
    asked = Asked(seeds=args.seeds, quick=args.quick, results=args.results)
    check_records(asked)
    known: dict[int, State] = {}  # by source: several exhibits share one

    def state(source: Source) -> State:
        if id(source) not in known:
            known[id(source)] = source.state(asked)
        return known[id(source)]

    columns: list[Column[Exhibit]] = [
        Column("name", lambda exhibit: exhibit.name),
        Column("state", lambda exhibit: str(stand([state(s) for s in exhibit.sources]))),
        Column("hours left", lambda exhibit: left(exhibit, state)),
    ]
    Console(width=max(Console().width, 120)).print(rich_table(columns, IN_ORDER))


def left(exhibit: Exhibit, state: Callable[[Source], State]) -> str | None:
    """The hours that an exhibit still takes, a line a kind of hardware."""
    spent = {
        where: sum(state(s).hours_left for s in exhibit.sources if s.hardware == where)
        for where in exhibit.hardware
    }
    return "\n".join(f"{hours(h)} h, {where}" for where, h in spent.items() if h) or None


def hours(value: float) -> str:
    """Hours as one would say them.

    >>> hours(0.0), hours(0.31), hours(1234.5)
    ('0', '0.3', '1,234')
    """
    return "0" if value == 0 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def report(args: Report) -> None:
    """Write the page."""
    from experiments.paper.page import page

    asked = Asked(quick=args.quick, results=args.results)
    check_records(asked)
    make_folder_of(args.out)
    text = page(asked)
    with explained(f"--out {args.out}"):
        args.out.write_text(text, encoding="utf-8")
    print(args.out)


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Figure, tyro.conf.subcommand("figure")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)
ACTIONS: dict[type, Any] = {Run: run, Table: table, Figure: figure, List: listing, Report: report}


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 2 and one line on bad input."""
    return status_of("experiments.paper", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    asked: Any = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        args=arguments, prog="python -m experiments.paper", description=__doc__,
    )  # fmt: skip
    ACTIONS[type(asked)](asked)


if __name__ == "__main__":
    sys.exit(main())
