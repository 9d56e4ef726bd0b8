"""Table 3 (MNIST) as Markdown: ours beside the paper's.

    python -m experiments.paper.tables                  # a line a strategy and fraction, with times
    python -m experiments.paper.tables --form methods   # a line a method, as in the README
    python -m experiments.paper.tables --results FILE.jsonl --out TABLE.md

Reads what `experiments.paper.mnist_table3` has written so far; a row with fewer than three seeds is
marked, runs of different settings have rows of their own that name them, and a column without a
figure is left out. Seconds are training and selection (the latter also by itself), without
evaluation and compilation. A speed-up is against our own full training in the same file (the
paper's: its hours against its FULL), the ceiling the examples that full training visits over those
this run visited.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.command import command
from experiments.paper.published import Published, accuracy_and_time
from experiments.records import read
from experiments.runs import config_of
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.summary import ended, label_of, seconds_of
from gradmatch_jax.report.tables import Column, filled, markdown, mean_and_std
from gradmatch_jax.strategies.registry import WARM
from gradmatch_jax.sweep import identity
from gradmatch_jax.training.config import TrainConfig

SEEDS = 3
Run = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """What to render."""

    results: Path = Path("results/mnist_table3.jsonl")
    out: Path | None = None
    """Markdown file; None prints."""
    form: Literal["runs", "methods"] = "runs"


def main(args: Tables) -> None:
    """Render the table."""
    if not args.results.exists():
        raise UserError(f"no {args.results}: run `python -m experiments.paper.mnist_table3` first")
    text = {"runs": by_fraction, "methods": methods}[args.form](read(args.results))
    if args.out is None:
        print(text, end="")
    else:
        args.out.write_text(text)


class Key(NamedTuple):
    """What the runs of a row share."""

    fraction: float
    name: str
    settings: str  # those that other runs of the same name and fraction have otherwise


class Line(NamedTuple):
    """A row of the table: runs that share a key, and what they are set beside."""

    key: Key
    runs: list[Run]
    whole: list[Run]  # those that ended
    full_seconds: float | None  # of our own full training
    paper: Published | None

    def mean(self, value: Callable[[Run], float]) -> float | None:
        """The mean over the runs that ended."""
        return statistics.fmean(map(value, self.whole)) if self.whole else None

    def values(self, value: Callable[[Run], float]) -> list[float] | None:
        """A value a run that ended; None where there is none, or one lacks it."""
        try:
            return [value(run) for run in self.whole] or None
        except KeyError:
            return None


def published() -> dict[tuple[str, float], Published]:
    """The paper's Table 3 by strategy and fraction."""
    return accuracy_and_time("table3", "mnist")


def accuracy_of(run: Run) -> float:
    return run["test_accuracy"]


def ceiling(run: Run) -> float:
    """The speed-up that selections for nothing would give: examples of full training over ours."""
    if "examples" in run:  # the proxy's among them
        return run["config"]["epochs"] * run["train_size"] / run["examples"]
    n, full, subset = run["train_size"], run["full_epochs"], run["epochs"] - run["full_epochs"]
    return run["config"]["epochs"] * n / (full * n + subset * run["subset_size"])


def accuracy_cell(line: Line) -> str:
    if not line.whole:
        return line.runs[0]["failed"]["kind"]
    return mean_and_std([accuracy_of(run) for run in line.whole], 2)


def seeds_cell(line: Line) -> str:
    count = str(len(line.whole))
    if len(line.whole) < len(line.runs):
        count += f" of {len(line.runs)}"
    return count + ("" if len(line.whole) >= SEEDS else " (!)")


def difference(line: Line) -> float | None:
    ours = line.mean(accuracy_of)
    return None if ours is None or line.paper is None else ours - line.paper.accuracy


def speed_up(line: Line) -> float | None:
    ours = line.mean(seconds_of)
    return None if ours is None or line.full_seconds is None else line.full_seconds / ours


def papers_speed_up(line: Line) -> float | None:
    full = published()["full", 1.0].hours
    if line.paper is None or line.paper.hours is None or full is None:
        return None
    return full / line.paper.hours


def spread(digits: int) -> Callable[[Sequence[float]], str]:
    """Values as mean ± std."""
    return lambda values: mean_and_std(values, digits)


COLUMNS: tuple[Column[Line], ...] = (
    Column("strategy", lambda line: ", ".join(filter(None, line.key[1:]))),
    Column("k/n", lambda line: line.key.fraction, "{:.0%}"),
    Column("seeds", seeds_cell),
    Column("validation %", lambda line: line.values(lambda r: r["validation_accuracy"]), spread(2)),
    Column("accuracy %", accuracy_cell),
    Column("paper %", lambda line: line.paper and line.paper.accuracy, "{:.2f}"),
    Column("difference", difference, "{:+.2f}"),
    Column("seconds", lambda line: line.values(seconds_of), spread(1)),
    Column("selecting", lambda line: line.values(lambda r: r["selection_seconds"]), spread(1)),
    Column("speed-up", speed_up, "{:.1f}"),
    Column("ceiling", lambda line: line.mean(ceiling), "{:.1f}"),
    Column("paper's speed-up", papers_speed_up, "{:.1f}"),
)


def by_fraction(runs: list[Run]) -> str:
    """The table, one row a strategy and fraction, and the notes under it."""
    groups = grouped(runs)
    full = [seconds_of(run) for run in ended(runs) if run["strategy"] == "full"]
    full_seconds = statistics.fmean(full) if full else None
    paper = published()
    lines = [
        Line(key, members, ended(members), full_seconds, paper.get((key.name, key.fraction)))
        for key, members in sorted(  # full first
            groups.items(), key=lambda item: (item[0].fraction < 1, item[0].fraction)
        )
    ]
    return markdown(filled(COLUMNS, lines), lines) + "\n" + notes(runs, lines)


def methods(runs: list[Run]) -> str:
    """A line a method: accuracy at each fraction, cold and warm, the paper's in brackets.

    Raises:
        UserError: runs of several settings, which the line has no room for.
    """
    keyed = grouped(runs)
    mixed = [f"{key.name} ({key.settings})" for key in keyed if key.settings]
    if mixed:
        raise UserError(f"--form methods is for one setting a method, not {'; '.join(mixed)}")
    groups = {(key.name, key.fraction): group for key, group in keyed.items()}
    fractions = sorted({fraction for _, fraction in groups if fraction < 1})
    whole = sorted(name for name, fraction in groups if fraction == 1)
    names = dict.fromkeys(name.removesuffix(WARM) for name, _ in groups)
    paper = published()

    def accuracy(fraction: float, ending: str = "") -> Callable[[str], str | None]:
        def cell(name: str) -> str | None:
            key = name + ending, fraction
            return brief(groups.get(key, []), paper.get(key))

        return cell

    def time(fraction: float) -> Callable[[str], str | None]:
        return lambda name: phases(groups.get((name, fraction), []))

    columns = [Column[str]("method", lambda name: name)]
    for f in fractions:
        columns += [
            Column(f"{f:.0%}", accuracy(f)),
            Column(f"{f:.0%}, warm", accuracy(f, WARM)),
        ]
    columns += [Column(f"{f:.0%}: train + select, s", time(f)) for f in fractions]
    text = markdown(columns, [name for name in names if name not in whole])
    for name in whole:
        text += f"\n{name}: {accuracy(1.0)(name)}, {time(1.0)(name)} s\n"
    return text


def brief(runs: list[Run], paper: Published | None) -> str | None:
    """Mean ± std, marked below three seeds, and the paper's figure."""
    if not runs:
        return None
    whole = ended(runs)
    if not whole:
        return runs[0]["failed"]["kind"]
    accuracy = mean_and_std([accuracy_of(run) for run in whole], 2)
    few = f" ({len(whole)} of {SEEDS} seeds)" if len(whole) < SEEDS else ""
    return accuracy + few + (f" [{paper.accuracy:.2f}]" if paper else "")


def phases(runs: list[Run]) -> str | None:
    """Median seconds of training and of selection."""
    whole = ended(runs)
    if not whole:
        return None
    spent = (
        statistics.median(run[f"{k}_seconds"] for run in whole) for k in ("train", "selection")
    )
    return " + ".join(f"{seconds:.0f}" for seconds in spent)


def grouped(runs: list[Run]) -> dict[Key, list[Run]]:
    """The runs of each row, in the file's order."""
    named: dict[tuple[float, str], list[Run]] = {}
    for run in runs:
        name = label_of(run["strategy"], run["warm"])
        named.setdefault((run["fraction"], name), []).append(run)
    groups: dict[Key, list[Run]] = {}
    for (fraction, name), members in named.items():
        configs = [settings_of(run) for run in members]
        known = dict.fromkeys(itertools.chain.from_iterable(configs))
        varied = [k for k in known if any(c.get(k) != configs[0].get(k) for c in configs)]
        for run, config in zip(members, configs, strict=True):
            settings = ", ".join(f"{k} {config.get(k)}" for k in varied)
            groups.setdefault(Key(fraction, name, settings), []).append(run)
    return groups


def settings_of(run: Run) -> dict[str, Any]:
    """The run's configuration but what its row names and its seed; the default for what its
    revision did not have, or what does not apply to it."""
    config = identity(TrainConfig()) | config_of(run)
    return {k: v for k, v in config.items() if k not in ("strategy", "fraction", "warm", "seed")}


def notes(runs: list[Run], lines: list[Line]) -> str:
    """Where the figures come from, what is missing yet, and what came to nothing."""

    def named(key: str) -> str:
        return ", ".join(sorted({run[key] for run in runs})) or "–"

    said = [
        f"Mean ± std over seeds; seconds are training and selection. Network: {named('model')}; "
        f"device: {named('device')}; revision: {named('revision')}.",
        "Paper: GRAD-MATCH, Table 3 (LeNet); its speed-up is FULL's 0.82 h over the row's hours.",
    ]
    if not any(run["strategy"] == "full" for run in ended(runs)):
        said.append("No full training in the file yet: no speed-ups of ours.")
    if any(len(line.whole) < SEEDS for line in lines):
        said.append(f"(!) fewer than {SEEDS} seeds so far.")
    for run in runs:
        if "failed" in run:
            said.append(f"{run['run']}: {run['failed']['kind']}: {run['failed']['reason']}.")
    return "\n".join(said) + "\n"


if __name__ == "__main__":
    command(main, Tables)
