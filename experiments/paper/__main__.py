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
out.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from experiments.command import status_of
from experiments.paper.exhibit import Exhibit, Source, stand
from experiments.paper.exhibits import IN_ORDER, find
from experiments.paper.study import Asked, State, Study
from gradmatch_jax.errors import UserError, no_such
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
    """An .svg, .png or .pdf; beside an .svg NAME-narrow.svg, for a phone. None:
    results/figures/NAME.svg, or runs/quick's."""


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
    exhibit = find(args.name)
    until = time.time() + 60 * args.minutes
    several = len({source.dataset for source in exhibit.sources}) > 1 and not args.quick
    asked = of_studies(exhibit, args.studies)
    _check_strategies(asked, args)
    if args.data_dir is not None and not args.data_dir.is_dir():
        raise UserError(f"--data-dir {args.data_dir}: there is no such folder")
    for source in asked:
        folder = args.data_dir
        if several and folder is not None:
            folder = folder / source.dataset
            if not folder.is_dir():
                print(f"{source.name}: there is no {folder}, left out", flush=True)
                continue
        minutes = max(0.0, (until - time.time()) / 60)
        source.run(dataclasses.replace(args, data_dir=folder, minutes=minutes))
    for source in asked:
        print(f"{source.name}: {source.state(args)}")


def _check_strategies(sources: Sequence[Source], asked: Asked) -> None:
    """An error where a strategy was named that none of the studies has."""
    studies = [s for s in sources if isinstance(s, Study)]
    known = {name for study in studies for part in study.parts for name in part.strategies}
    for name in asked.strategies if studies else ():
        if name not in known:
            raise no_such("strategy of it", name, sorted(known))


def _known_folder(args: Any) -> None:
    """An error where the records' folder was named and is not there."""
    if not args.quick and args.results != Path("results") and not args.results.is_dir():
        raise UserError(f"--results {args.results}: there is no such folder")


def _file(name: str, path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{name} {path} is a folder: name a file in it")


def of_studies(exhibit: Exhibit, names: tuple[str, ...]) -> list[Source]:
    """The sources that were named, or all of them."""
    known = {source.name: source for source in exhibit.sources}
    if missing := [name for name in names if name not in known]:
        raise no_such(f"study of {exhibit.name}", missing[0], known)
    return [source for name, source in known.items() if not names or name in names]


def table(args: Table) -> None:
    """Print or write one."""
    text = _table(args)
    if args.out is None:
        print(text, end="")
    else:
        _file("--out", args.out)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


def _table(args: Table) -> str:
    from experiments.paper.exhibit import Evidence
    from experiments.paper.lines import by_fraction
    from experiments.paper.methods import methods
    from experiments.runs import read_runs

    if args.name.endswith(".jsonl"):
        file = Path(args.name)
        if not file.exists():
            raise UserError(f"no {file}: name a file of records, or a table (see `list`)")
        runs = [run for run in read_runs(file) if not args.seeds or run["seed"] in args.seeds]
        return {"runs": by_fraction, "methods": methods}[args.form](runs)
    _known_folder(args)
    exhibit = find(args.name)
    evidence = Evidence(Asked(seeds=args.seeds, quick=args.quick, results=args.results))
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
    _known_folder(args)
    asked = Asked(seeds=args.seeds, quick=args.quick, results=args.results)
    out = args.out or asked.records / "figures" / f"{args.name}.svg"
    if out.suffix not in (".svg", ".png", ".pdf"):
        raise UserError(f"--out {out}: name an .svg, .png or .pdf")
    evidence = Evidence(asked)
    files = {out: WIDE}
    if out.suffix == ".svg":  # pages show a phone the figure drawn for it
        files[out.with_name(f"{out.stem}-{NARROW.name}.svg")] = NARROW
    for file, shape in files.items():
        save(exhibit.figure(evidence, shape), file)
        print(file)


def listing(args: List) -> None:
    """Print every exhibit, a line a source: what there is of it, what is left, on what."""
    _known_folder(args)
    asked = Asked(seeds=args.seeds, quick=args.quick, results=args.results)
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
    from experiments.paper.page import write

    _file("--out", args.out)
    _known_folder(args)
    write(args.out, Asked(quick=args.quick, results=args.results))
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
