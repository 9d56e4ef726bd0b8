"""Accuracy and time as a table: a row a strategy and fraction, ours beside the paper's.

A row with fewer seeds than the study has is marked, one that nothing has been run for says so and
keeps the paper's figures, runs of different settings have rows of their own that name them, and a
column without a figure is left out. Seconds are training and selection (the latter also by itself),
without evaluation and compilation. The ceiling of a speed-up is the examples that full training
visits over those this run visited; the share of it that a run reaches is the share of its seconds
that is training. That is by the run's own clock, over full training at the pace of its own steps:
of two sessions of a shared machine one may be half as fast again as the other. (The paper's is its
hours against its FULL.) Accuracies of several devices have a mean, seconds and joules do not: they
are those of one of the row's devices, an undisturbed one where there is one, and never of a run
that was paused.
"""

import re
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from experiments.paper.costs import CONVENTION, cost_of, seen
from experiments.paper.published import Published
from experiments.paper.rows import (
    Key,
    Run,
    device_of,
    grouped,
    of_one_device,
    of_same_seeds,
    paused,
)  # fmt: skip
from gradmatch_jax.report.summary import ended, seconds_of
from gradmatch_jax.report.tables import Column, filled, markdown, mean_and_std

SEEDS = 3
NOT_MEASURED = "not measured"
Paper = Mapping[tuple[str, float], Published]
NONE: Paper = MappingProxyType({})


class Line(NamedTuple):
    """A row of the table: runs that share a key, and what they are set beside."""

    key: Key
    runs: list[Run]
    whole: list[Run]  # those that ended
    timed: list[Run]  # of these, those of one device; none where all were paused
    full: list[Run]  # our own full training on that device
    paper: Published | None
    paper_full: Published | None
    device: str | None  # None: there is but one in the file

    def mean(self, value: Callable[[Run], float | None]) -> float | None:
        """The mean over the runs that ended; None where one has no such figure."""
        return mean_of(self.whole, value)

    def values(self, value: Callable[[Run], float], timed: bool = False) -> list[float] | None:
        """A value a run that ended, on one device if wanted; None where one lacks it, or is a
        share of no seconds."""
        try:
            return [value(run) for run in (self.timed if timed else self.whole)] or None
        except (KeyError, ZeroDivisionError):
            return None

    def gain(self, spent: Callable[[Run], float | None]) -> float | None:
        """What full training takes of something over what this row takes, on one device.

        Of the same seeds where there are any: those are of one session of the machine, mostly.
        """
        full, ours = (mean_of(runs, spent) for runs in self.compared)
        return full / ours if full and ours else None

    @property
    def compared(self) -> tuple[list[Run], list[Run]]:
        """The runs of full training and of this row that a gain is of."""
        return of_same_seeds(self.full, self.timed)


def mean_of(runs: Sequence[Run], value: Callable[[Run], float | None]) -> float | None:
    """The mean over runs; None where there are none, or one has no such figure."""
    found = [value(run) for run in runs]
    whole = [x for x in found if x is not None]
    return statistics.fmean(whole) if whole and len(whole) == len(found) else None


def accuracy_of(run: Run) -> float:
    return run["test_accuracy"]


def ceiling(run: Run) -> float:
    """The speed-up that selections for nothing would give: examples of full training over ours."""
    return run["config"]["epochs"] * run["train_size"] / seen(run)


def own_speed_up(runs: Sequence[Run]) -> float | None:
    """The mean of the ceiling times the share of the seconds that is training."""
    timed = [run for run in runs if seconds_of(run)]
    own = [ceiling(run) * run["train_seconds"] / seconds_of(run) for run in timed]
    return statistics.fmean(own) if own else None


def accuracy_cell(line: Line) -> str:
    if line.whole:
        return mean_and_std([accuracy_of(run) for run in line.whole], 2)
    return line.runs[0]["failed"]["kind"] if line.runs else NOT_MEASURED


def seeds_cell(line: Line) -> str | None:
    if not line.runs:
        return None
    count = str(len(line.whole))
    if len(line.whole) < len(line.runs):
        count += f" of {len(line.runs)}"
    return count + ("" if len(line.whole) >= SEEDS else " (!)")


def difference(line: Line) -> float | None:
    ours = line.mean(accuracy_of)
    return None if ours is None or line.paper is None else ours - line.paper.accuracy


def papers_speed_up(line: Line) -> float | None:
    if line.paper is None or line.paper_full is None:
        return None
    ours, full = line.paper.hours, line.paper_full.hours
    return None if ours is None or full is None else full / ours


def joules(run: Run) -> float | None:
    """What the counters said; None where there were none."""
    return run.get("joules")


def spread(digits: int) -> Callable[[Sequence[float]], str]:
    """Values as mean ± std."""
    return lambda values: mean_and_std(values, digits)


def millions(value: float) -> str:
    return f"{value / 1e6:.3g} M"


def tera(value: float) -> str:
    return f"{value / 1e12:.3g}"


COLUMNS: tuple[Column[Line], ...] = (
    Column("strategy", lambda line: ", ".join(filter(None, line.key[1:3]))),
    Column("device", lambda line: line.device),
    Column("k/n", lambda line: line.key.fraction, "{:.0%}"),
    Column("seeds", seeds_cell),
    Column("validation %", lambda line: line.values(lambda r: r["validation_accuracy"]), spread(2)),
    Column("accuracy %", accuracy_cell),
    Column("paper %", lambda line: line.paper and line.paper.accuracy, "{:.2f}"),
    Column("difference", difference, "{:+.2f}"),
    Column("seconds", lambda line: line.values(seconds_of, timed=True), spread(1)),
    Column("selecting", lambda line: line.values(lambda r: r["selection_seconds"], True),
           spread(1)),
    Column("training %", lambda line: line.values(
        lambda r: 100 * r["train_seconds"] / seconds_of(r), True), spread(1)),
    Column("speed-up", lambda line: own_speed_up(line.timed), "{:.1f}"),
    Column("ceiling", lambda line: line.mean(ceiling), "{:.1f}"),
    Column("paper's speed-up", papers_speed_up, "{:.1f}"),
    Column("examples", lambda line: line.mean(seen), millions),
    Column("forwards", lambda line: line.mean(lambda r: cost_of(r).forwards), millions),
    Column("TFLOP", lambda line: line.mean(lambda r: cost_of(r).flops), tera),
)  # fmt: skip
# Where some run has a figure; the rows that have none say why.
ENERGY = Column[Line]("kWh", lambda line: energy_cell(line.timed))
JOULES = 3.6e6  # to a kWh


def lines_of(
    runs: list[Run], paper: Paper = NONE, expected: Collection[tuple[str, float]] = ()
) -> list[Line]:
    """The rows: full first, then by fraction; what is expected and has no run is there too.

    Args:
        runs: the records.
        paper: its figures by strategy and fraction.
        expected: strategies and fractions that have a row in any case.
    """
    groups = grouped(runs)
    known = {(key.name, key.fraction) for key in groups}
    groups |= {Key(f, name): [] for name, f in expected if (name, f) not in known}
    full = [run for run in ended(runs) if run["strategy"] == "full"]
    several = len(set(map(device_of, runs))) > 1

    def line(key: Key, members: list[Run]) -> Line:
        whole = ended(members)
        timed = of_one_device(whole)
        here = device_of(timed[0]) if timed else key.device or None
        same = [run for run in full if device_of(run) == here]
        ours, theirs = paper.get((key.name, key.fraction)), paper.get(("full", 1.0))
        return Line(key, members, whole, timed, same, ours, theirs, here if several else None)

    ordered = sorted(groups.items(), key=lambda item: (item[0].fraction < 1, item[0].fraction))
    return [line(key, members) for key, members in ordered]


def by_fraction(
    runs: list[Run],
    paper: Paper = NONE,
    expected: Collection[tuple[str, float]] = (),
    source: str = "",
) -> str:
    """The table, one row a strategy and fraction, and the notes under it.

    Args:
        runs: the records.
        paper: as `lines_of`'s.
        expected: as `lines_of`'s.
        source: a sentence on where the paper's figures are from.
    """
    lines = lines_of(runs, paper, expected)
    some = any(joules(run) for run in ended(runs))
    columns = [*filled(COLUMNS, lines), *([ENERGY] if some else [])]
    return markdown(columns, lines) + "\n" + notes(runs, lines, source)


def notes(runs: list[Run], lines: list[Line], source: str = "") -> str:
    """Where the figures come from, what is missing yet, and what came to nothing."""

    def named(key: str) -> str:
        return ", ".join(sorted({run[key] for run in runs})) or "–"

    said = [
        f"Mean ± std over seeds; seconds are training and selection. Network: {named('model')}; "
        f"device: {named('device')}; revision: {named('revision')}.",
        *([source] if source else []),
        CONVENTION,
    ]
    if any(own_speed_up(line.timed) for line in lines):
        said.append(
            "Speed-up by the run's own clock: the ceiling times the share of its seconds that is "
            "training, which is full training's time at the pace of its own steps over the run's."
        )
    if len(devices := set(map(device_of, runs))) > 1:
        said.append(f"Of {len(devices)} devices: seconds are of the one that is named.")
    if count := sum(map(paused, runs)):
        said.append(f"Paused on the way: {count} of the runs; accuracies count, seconds do not.")
    if runs and not any(joules(run) for run in ended(runs)):
        said.append(f"Energy {energy_sources(runs)}.")
    if any(line.runs and len(line.whole) < SEEDS for line in lines):
        said.append(f"(!) fewer than {SEEDS} seeds so far.")
    for run in runs:
        if "failed" in run:
            said.append(f"{run['run']}: {run['failed']['kind']}: {run['failed']['reason']}.")
    return "\n".join(said) + "\n"


def energy_cell(runs: Sequence[Run]) -> str | None:
    """Mean kWh over those that have a figure, and their number; else why there is none."""
    mine = ended(runs)
    spent = [found / JOULES for run in mine if (found := joules(run)) is not None]
    if mine and not spent:  # what is in parentheses stands under the table
        return re.sub(r" \([^)]*\)", "", energy_sources(mine))
    return f"{statistics.fmean(spent):.4f} ({len(spent)})" if spent else None


def energy_sources(runs: Sequence[Run]) -> str:
    """Why runs have no joules, in words that follow "energy"."""
    why = {run.get("energy_source", "unavailable: not recorded at their revision") for run in runs}
    return "; ".join(sorted(why))
