"""The table of a comparison: means over seeds, and how their time was counted."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies.registry import WARM


class Row(NamedTuple):
    """One strategy at one fraction; seconds and accuracy are means over its seeds."""

    label: str  # the strategy, with -warm
    fraction: float
    n: int  # seeds
    accuracy: float  # test, percent
    accuracy_std: float | None  # sample standard deviation; None with one seed
    drop: float  # full's accuracy minus this one's, points
    seconds: float  # training and selection
    selection_seconds: float  # the part of `seconds` that selecting took
    speedup: float  # full's seconds / seconds
    ceiling: float  # full's examples / examples seen, the proxies' included: 1 / fraction, mostly
    matching_error: float | None  # of the last selection; None where nothing is matched
    compile_seconds: float  # apart, in nothing above


HEADINGS = (
    "strategy",
    "data",
    "seeds",
    "test accuracy, %",
    "drop, points",
    "train + select, s",
    "speed-up",
    "ceiling",
    "matching error",
    "compile, s",
)


def label_of(strategy: str, warm: bool) -> str:
    """The name a strategy goes by in tables: "gradmatch-warm"."""
    return strategy + WARM if warm else strategy


def seconds_of(run: dict[str, Any]) -> float:
    """What the paper counts: training and selection."""
    return run["train_seconds"] + run["selection_seconds"]


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


def summarise(runs: Sequence[dict[str, Any]]) -> list[Row]:
    """One row a strategy and fraction, from run summaries (result.json's).

    Raises:
        UserError: there is no run of `full`, the yardstick.
    """
    groups = group(runs)
    full = next(members for (label, _), members in groups.items() if label == "full")
    yardstick = statistics.fmean(run["test_accuracy"] for run in full)
    full_seconds = statistics.fmean(map(seconds_of, full))
    full_examples = statistics.fmean(run["examples"] for run in full)
    return [
        _row(label, fraction, members, yardstick, full_seconds, full_examples)
        for (label, fraction), members in groups.items()
    ]


def _row(
    label: str,
    fraction: float,
    members: list[dict[str, Any]],
    yardstick: float,
    full_seconds: float,
    full_examples: float,
) -> Row:
    accuracies = [run["test_accuracy"] for run in members]
    errors = [run["matching_error"][-1] for run in members if run["matching_error"]]
    errors = [error for error in errors if error is not None]
    seconds = statistics.fmean(map(seconds_of, members))
    return Row(
        label=label,
        fraction=fraction,
        n=len(members),
        accuracy=statistics.fmean(accuracies),
        accuracy_std=statistics.stdev(accuracies) if len(members) > 1 else None,
        drop=yardstick - statistics.fmean(accuracies),
        seconds=seconds,
        selection_seconds=statistics.fmean(run["selection_seconds"] for run in members),
        speedup=full_seconds / seconds,
        ceiling=full_examples / statistics.fmean(run["examples"] for run in members),
        matching_error=statistics.fmean(errors) if errors else None,
        compile_seconds=statistics.fmean(run["compile_seconds"] for run in members),
    )


def percent(fraction: float) -> str:
    """0.05 as "5 %"."""
    return f"{100 * fraction:.6g} %"


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, one cell a heading."""
    full = row.label == "full"
    std = "-" if row.accuracy_std is None else f"{row.accuracy_std:.2f}"
    return (
        row.label,
        percent(row.fraction),
        str(row.n),
        f"{row.accuracy:.2f} ± {std}",
        "-" if full else f"{round(row.drop, 2) + 0.0:.2f}",
        f"{row.seconds:#.3g}" if row.seconds < 100 else f"{row.seconds:.0f}",
        "1×" if full else f"{row.speedup:.1f}×",
        "-" if full else f"{row.ceiling:.3g}×",
        "-" if row.matching_error is None else f"{row.matching_error:.3g}",
        f"{row.compile_seconds:.1f}",
    )


def markdown(table: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1)), *map(cells, table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def devices(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The devices that the runs were made on, each once."""
    return list(dict.fromkeys(run["device"] for run in runs))


def footnote(runs: Sequence[dict[str, Any]]) -> str:
    """How the table's numbers were counted, and on what."""
    where = devices(runs)
    mixed = " Times from different devices are mixed: do not compare them." if where[1:] else ""
    return (
        "Accuracy: mean ± sample standard deviation over seeds, after the last epoch. "
        f"Time: wall-clock seconds of training and selection on {' and '.join(where)}, mean over "
        "seeds; compiling and testing are not in them, whatever else the machine was doing is."
        f"{mixed} Speed-up: full's seconds over the strategy's; its ceiling is full's examples "
        "over those trained on, 1/fraction for most, which fixed costs of every step and "
        "selection keep small problems well below. "
        "Matching error: the last selection's, relative to its target, "
        "each strategy in its own gradients."
    )
