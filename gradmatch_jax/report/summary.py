"""What a comparison came to: means over seeds, how their time was counted, what came to nothing."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.report.tables import percent, spread_out
from gradmatch_jax.strategies.registry import WARM


class Row(NamedTuple):
    """One strategy at one fraction; seconds and accuracy are means over the seeds that ended.

    None where no run ended, or where full training, the yardstick, has none that did.
    """

    label: str  # the strategy, with -warm
    fraction: float
    n: int  # seeds that ended
    accuracy: float | None  # test, percent
    accuracy_std: float | None  # sample standard deviation; None with one seed
    drop: float | None  # full's accuracy minus this one's, points
    seconds: float | None  # training and selection
    seconds_std: float | None  # sample standard deviation; None with one seed
    selection_seconds: float | None  # the part of `seconds` that selecting took
    speedup: float | None  # full's seconds / seconds
    ceiling: float | None  # full's examples / examples seen, the proxies' included: 1 / fraction
    matching_error: float | None  # of the last selection; None where nothing is matched
    compile_seconds: float | None  # apart, in nothing above
    failures: tuple[str, ...]  # a run each: its seed, what became of it and why
    diverged: bool  # some run did
    stopped: tuple[str, ...]  # why the last selections ended before their budget
    warnings: tuple[str, ...]  # what looks wrong with runs that ended, a run each


class About(NamedTuple):
    """How runs came about."""

    command: str = ""
    """What was typed, or could have been; empty where it is not known."""
    wall_seconds: float | None = None
    """Of all that made them, loading and testing too; None where it is not known."""


def label_of(strategy: str, warm: bool) -> str:
    """The name a strategy goes by in tables: "gradmatch-warm"."""
    return strategy + WARM if warm else strategy


def seconds_of(run: dict[str, Any]) -> float:
    """What the paper counts: training and selection."""
    return run["train_seconds"] + run["selection_seconds"]


def ended(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that have a result."""
    return [run for run in runs if "failed" not in run]


def group(runs: Sequence[dict[str, Any]]) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """Runs by (label, fraction): `full` first, then by fraction, then in the order they came.

    Raises:
        UserError: there is no run of `full`, the yardstick.
    """
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((label_of(run["strategy"], run["warm"]), run["fraction"]), []).append(run)
    if not any(label == "full" for label, _ in groups):
        raise UserError("no run of full training to compare with; add the strategy full")
    return dict(sorted(groups.items(), key=lambda item: (item[0][0] != "full", item[0][1])))


class _Yardstick(NamedTuple):
    """Full training's means; None where none of its runs ended."""

    accuracy: float | None
    seconds: float | None
    examples: float | None


def summarise(runs: Sequence[dict[str, Any]]) -> list[Row]:
    """One row a strategy and fraction, from run summaries (result.json's) and failed runs.

    Raises:
        UserError: there is no run of `full`, the yardstick.
    """
    groups = group(runs)
    full = ended(next(members for (label, _), members in groups.items() if label == "full"))
    yardstick = _Yardstick(
        _mean(full, lambda run: run["test_accuracy"]),
        _mean(full, seconds_of),
        _mean(full, lambda run: run["examples"]),
    )
    return [_row(*key, members, yardstick) for key, members in groups.items()]


def _mean(
    runs: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]
) -> float | None:
    """The mean over the runs that have a value."""
    values = [found for run in runs if (found := value(run)) is not None]
    return statistics.fmean(values) if values else None


def _last_error(run: dict[str, Any]) -> float | None:
    return run["matching_error"][-1] if run["matching_error"] else None


def _ratio(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else whole / part


def _row(label: str, fraction: float, runs: list[dict[str, Any]], full: _Yardstick) -> Row:
    members = ended(runs)
    accuracies = [run["test_accuracy"] for run in members]
    accuracy = statistics.fmean(accuracies) if members else None
    seconds = _mean(members, seconds_of)
    stopped = [reason for run in members if run.get("stopped") and (reason := run["stopped"][-1])]
    failed = [run for run in runs if "failed" in run]
    return Row(
        label=label,
        fraction=fraction,
        n=len(members),
        accuracy=accuracy,
        accuracy_std=statistics.stdev(accuracies) if len(members) > 1 else None,
        drop=None if accuracy is None or full.accuracy is None else full.accuracy - accuracy,
        seconds=seconds,
        seconds_std=(statistics.stdev(map(seconds_of, members)) if len(members) > 1 else None),
        selection_seconds=_mean(members, lambda run: run["selection_seconds"]),
        speedup=_ratio(full.seconds, seconds),
        ceiling=_ratio(full.examples, _mean(members, lambda run: run["examples"])),
        matching_error=_mean(members, _last_error),
        compile_seconds=_mean(members, lambda run: run["compile_seconds"]),
        failures=tuple(map(failure, failed)),
        diverged=any(run["failed"]["kind"] == "diverged" for run in failed),
        stopped=tuple(dict.fromkeys(stopped)),
        warnings=tuple(
            f"seed {run['seed']}: {run['warning']}" for run in members if run.get("warning")
        ),
    )


def failure(run: dict[str, Any]) -> str:
    """What became of a run that has no result, and why."""
    failed = run["failed"]
    return f"seed {run['seed']} {failed['kind']} in epoch {failed['epoch']}: {failed['reason']}"


def notes(table: Iterable[Row]) -> list[str]:
    """A line for each row that has something to say: runs without a result, stops, warnings."""
    lines = []
    for row in table:
        name = f"{row.label} on {percent(row.fraction)}"
        if row.failures:
            again = "remove the run's folder to try it again"
            lines.append(f"{name}: {'; '.join(row.failures)} ({again}).")
        if row.stopped:
            lines.append(f"{name}: matching stopped early ({'; '.join(row.stopped)}).")
        if row.warnings:
            lines.append(f"{name}: {'; '.join(row.warnings)}.")
    return lines


def devices(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The devices that the runs were made on, each once."""
    return list(dict.fromkeys(run["device"] for run in ended(runs)))


def lead(table: Sequence[Row]) -> list[str]:
    """The result in a sentence a fraction: every method that cannot be told from the best one, and
    the fastest of them. No difference inside the spread is called one."""
    full = table[0]
    if full.accuracy is None:
        lines = ["Full training came to nothing: there is no yardstick."]
    else:
        lines = [f"Full training reaches **{full.accuracy:.2f} %** in {full.seconds:.3g} s."]
    for fraction in sorted({row.fraction for row in table[1:]}):
        rows = [row for row in table[1:] if row.fraction == fraction and row.accuracy is not None]
        if rows:
            lines.append(_lead_of(fraction, rows))
    return lines


def _lead_of(fraction: float, rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda row: row.accuracy or 0.0)
    level = level_with(best, rows)
    figure = spread_out(best.accuracy or 0.0, best.accuracy_std, 2)
    start = f"On {percent(fraction)} of the data,"
    if len(rows) == 1:
        return f"{start} **{best.label}** reaches **{figure} %**{_as_fast(level)}."
    if best.accuracy_std is None:
        return (
            f"{start} **{best.label}** has the highest figure, **{figure} %**, of one seed"
            f"{_as_fast([best])}; one seed does not say which method is better."
        )
    if len(level) == 1:
        return f"{start} **{best.label}** is ahead: **{figure} %**{_as_fast(level)}."
    others = [f"**{row.label}**" for row in level if row is not best]
    level_ones = _listed([f"**{best.label}** (**{figure} %**)", *others])
    fastest = fastest_of(level)
    which = "none is faster beyond the spread" if len(fastest) == len(level) else (
        f"the fastest of them {'is' if len(fastest) == 1 else 'are'} "
        f"{_listed([f'**{row.label}**' for row in fastest])}"
    )  # fmt: skip
    return f"{start} {level_ones} are level within the spread; {which}{_as_fast(fastest)}."


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _as_fast(rows: Sequence[Row]) -> str:
    """How many times as fast as full training they are."""
    speeds = sorted({f"{row.speedup:.1f}" for row in rows if row.speedup is not None}, key=float)
    if not speeds:
        return ""
    said = speeds[0] if len(speeds) == 1 else f"{speeds[0]} to {speeds[-1]}"
    return f", {said} times as fast as full"


def level_with(best: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows that cannot be told from the best one: no further below it than the spread of their
    difference, whose variance is the sum of both; never less than the best one's own."""
    return [
        row
        for row in rows
        if row.accuracy is not None
        and (best.accuracy or 0.0) - row.accuracy
        <= math.hypot(best.accuracy_std or 0.0, row.accuracy_std or 0.0)
    ]


def fastest_of(rows: Sequence[Row]) -> list[Row]:
    """The fastest, and those whose time cannot be told from it by the same measure."""
    first = min(rows, key=lambda row: row.seconds or 0.0)
    return [
        row
        for row in rows
        if (row.seconds or 0.0) - (first.seconds or 0.0)
        <= math.hypot(first.seconds_std or 0.0, row.seconds_std or 0.0)
    ]


def footnote(runs: Sequence[dict[str, Any]]) -> str:
    """How the table's numbers were counted, and on what."""
    where = devices(runs)
    mixed = " Times from different devices are mixed: do not compare them." if where[1:] else ""
    return (
        "Accuracy: mean ± sample standard deviation over seeds, after the last epoch. "
        f"Time: wall-clock seconds of training and selection on {' and '.join(where)}, mean ± "
        "sample standard deviation over seeds; compiling and testing are not in them, whatever "
        "else the machine was doing is. Compiling has a column of its own: the first run of its "
        "shapes pays for it, the others find it done."
        f"{mixed} Speed-up: full's seconds over the strategy's; its ceiling is full's examples "
        "over those trained on, 1/fraction for most, which fixed costs of every step and "
        "selection keep small problems well below. "
        "Matching error: the last selection's, relative to its target, "
        "each strategy in its own gradients."
    )
