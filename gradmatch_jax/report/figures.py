"""The figures of the report: accuracy against speed-up and against time, weights."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradmatch_jax.report.drawing import (
    COLOURS,
    INK,
    STYLE,
    Look,
    Shape,
    Value,
    log_ticks,
    looks,
    to_svg,
)  # fmt: skip
from gradmatch_jax.report.labels import (
    LINE,
    Box,
    Label,
    at_the_end,
    beside,
    height_of,
    width_of,
    wrapped,
)  # fmt: skip
from gradmatch_jax.report.summary import Row, group, seconds_of
from gradmatch_jax.report.tables import percent, spread_out


class Window(NamedTuple):
    """What an axis of accuracy shows: where the contenders are."""

    low: float
    high: float


def window(
    accuracies: Sequence[float], spreads: Sequence[float], full: float | None = None
) -> Window:
    """The best and all that are no further below than twice the middle one, with their spreads.

    One method that failed does not press the others into a line: it is named at the edge. `full`
    is in it unless it is so far above that the methods would not be told apart.
    """
    best, middle = max(accuracies), statistics.median(accuracies)
    least = best - 2 * max(best - middle, *(s for s in spreads if s <= 10), 0.25)
    inside = [(a, s) for a, s in zip(accuracies, spreads, strict=True) if a >= least]
    low = max(min(a - s for a, s in inside), least - 0.2 * (best - least))
    high = max(a + s for a, s in inside)
    if full is not None and high < full <= high + 1.2 * (high - low):
        high = full
    short = max(1.0 - (high - low), 0.0)  # less than a point is nothing to look at
    edge = 0.06 * (high - low + short)
    return Window(low - short / 2 - 2 * edge, high + short / 2 + edge)


def panels(
    count: int, shape: Shape, columns: int, height: float, right: float, above: float = 30.0
) -> tuple[Figure, list[Axes]]:
    """That many axes, each `height` units high and with `right` units of room for names, `above`
    for a title."""
    columns = max(1, min(columns, count))
    lines = max(1, -(-count // columns))
    wide, left, below = 72 * shape.width, 54.0, 44.0
    tall = lines * (height + below + above)
    figure = Figure(figsize=(shape.width, tall / 72), dpi=72)
    each = wide / columns
    made = [
        figure.add_axes((
            ((i % columns) * each + left) / wide,
            (tall - (i // columns + 1) * (height + below + above) + below) / tall,
            (each - left - right) / wide,
            height / tall,
        ))
        for i in range(count)
    ]  # fmt: skip
    return figure, made


def _begin(axes: Axes, fraction: float, ylabel: str) -> None:
    axes.set_title(f"{percent(fraction)} of the data", loc="left")
    axes.set_ylabel(ylabel)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.15, color=INK)


def scatter(table: Sequence[Row], shape: Shape) -> str:
    """Accuracy against speed-up, a panel a fraction: up and to the right is better."""
    full = next(row for row in table if row.label == "full")
    assert full.accuracy is not None, "no yardstick to draw"
    drawn = looks([row.label for row in table])
    others = [row for row in table if row.label != "full" and row.accuracy is not None]
    fractions = sorted({row.fraction for row in others})
    most = max(sum(row.fraction == f for row in others) for f in fractions)
    with mpl.rc_context(STYLE):
        height = 230 + 12 * max(0, most - 6)
        figure, grid = panels(len(fractions), shape, shape.columns, height, right=12)
        values: list[Value] = []
        for axes, fraction in zip(grid, fractions, strict=True):
            _begin(axes, fraction, "test accuracy, %")
            axes.set_xlabel("speed-up over full training (log scale)")
            rows = [row for row in others if row.fraction == fraction]
            values += _points(axes, rows, full, drawn, shape)
        title = "Test accuracy against speed-up"
        return to_svg(figure, title, f"scatter-{shape.name}", values)


def _points(
    axes: Axes, rows: Sequence[Row], full: Row, drawn: dict[str, Look], shape: Shape
) -> list[Value]:
    """One panel; what its points say."""
    accuracies = [row.accuracy for row in rows if row.accuracy is not None]
    shown = window(accuracies, [row.accuracy_std or 0.0 for row in rows], full.accuracy)
    axes.set_ylim(*shown)
    speedups = [row.speedup or 1.0 for row in rows]
    log_ticks(axes, min(speedups) / 1.35, max(speedups) * 1.35, "{:g}×")
    written = [] if full.accuracy is None else [_full_line(axes, full.accuracy, shown)]
    labels, values = [], []
    for row, speedup in zip(rows, speedups, strict=True):
        accuracy, look = row.accuracy or 0.0, drawn[row.label]
        below = accuracy < shown.low
        y = shown.low + 0.05 * (shown.high - shown.low) if below else accuracy
        spread = (row.seconds_std or 0.0) / (row.seconds or 1.0) * speedup
        if not below:
            axes.errorbar(speedup, y, yerr=row.accuracy_std, xerr=spread or None,
                          color=look.colour, capsize=2, elinewidth=0.9, fmt="none")  # fmt: skip
        axes.plot(speedup, y, "v" if below else "o", color=look.colour, markersize=8,
                  markerfacecolor=look.face, markeredgewidth=1.6)  # fmt: skip
        name = wrapped(row.label, shape.wrap)
        labels.append(Label(f"{name} {accuracy:.1f}" if below else name, speedup, y, look.colour))
        ceiling = "" if row.ceiling is None else f" of {row.ceiling:.3g}×"
        said = f"{spread_out(accuracy, row.accuracy_std, 2)} %, {speedup:.1f}×{ceiling}"
        values.append(Value(axes, speedup, y, (row.label, said)))
    beside(axes, labels, written)
    return values


def _full_line(axes: Axes, accuracy: float, shown: Window) -> Box:
    """The line of full training with its name; the box that the name takes."""
    inside = accuracy <= shown.high
    if inside:
        axes.axhline(accuracy, color=INK, linewidth=1, alpha=0.55)
    said = f"full training, {accuracy:.2f} %{'' if inside else ', above'}"
    place = (0.99, accuracy) if inside else (0.99, shown.high)
    axes.annotate(said, place, (0, 3), xycoords=("axes fraction", "data"), ha="right",
                  textcoords="offset points", annotation_clip=False)  # fmt: skip
    right, _ = axes.transAxes.transform((place[0], 0.0))
    _, bottom = axes.transData.transform((1.0, place[1]))
    return float(right - width_of([said])), float(bottom), float(right), float(bottom + LINE)


class Curve(NamedTuple):
    """Test accuracy over time, both means over seeds at the epochs that were tested."""

    seconds: list[float]
    accuracy: list[float]


def curve(members: Sequence[dict[str, Any]]) -> Curve:
    """The mean curve of runs that share a plan; epochs that not all of them tested are left out."""
    points: dict[int, list[tuple[float, float]]] = {}
    for run in members:
        for row in run["log"]:
            if row.get("test_accuracy") is not None:
                points.setdefault(row["epoch"], []).append((seconds_of(row), row["test_accuracy"]))
    whole = [np.mean(p, axis=0) for _, p in sorted(points.items()) if len(p) == len(members)]
    return Curve([float(s) for s, _ in whole], [float(a) for _, a in whole])


def convergence(runs: Sequence[dict[str, Any]], shape: Shape) -> str:
    """Test accuracy against the seconds spent, a panel a fraction, `full` in each."""
    groups = group(runs)
    curves = {key: curve(members) for key, members in groups.items()}
    curves = {key: line for key, line in curves.items() if line.seconds}
    drawn = looks([label for label, _ in curves]) | {"full": Look(INK, False)}
    fractions = sorted({fraction for label, fraction in curves if label != "full"})
    shown = [
        {label: c for (label, its), c in curves.items() if label == "full" or its == fraction}
        for fraction in fractions
    ]
    columns = 1 if len(fractions) <= 3 else shape.columns
    wrap = shape.wrap if columns == 1 else 15
    names = {label: wrapped(f"{label} 00.0 ↓", wrap) for label, _ in curves}
    tallest = max((sum(height_of(names[label]) for label in its) for its in shown), default=0)
    with mpl.rc_context(STYLE):
        height = max(230.0, tallest - 2 * LINE)
        right = width_of(list(names.values())) + 14
        figure, grid = panels(len(fractions), shape, columns, height, right)
        values: list[Value] = []
        for axes, fraction, its in zip(grid, fractions, shown, strict=True):
            _begin(axes, fraction, "test accuracy, %")
            axes.set_xlabel("training + selection, seconds (log scale)")
            spreads = {label: _spread(groups[label, fraction]) for label in its if label != "full"}
            axes.set_ylim(*_ends(its, spreads))
            values += _curves(axes, its, drawn, wrap)
        title = "Test accuracy against seconds of training"
        return to_svg(figure, title, f"convergence-{shape.name}", values)


def _spread(members: Sequence[dict[str, Any]]) -> float:
    accuracies = [run["test_accuracy"] for run in members]
    return statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0


def _ends(curves: dict[str, Curve], spreads: dict[str, float]) -> Window:
    """Where the contenders' curves end, and half as much again below for how they came there."""
    ends = [curves[label].accuracy[-1] for label in spreads]
    final = window(ends, list(spreads.values()))
    return final._replace(low=final.low - 0.5 * (final.high - final.low))


def _curves(axes: Axes, curves: dict[str, Curve], drawn: dict[str, Look], wrap: int) -> list[Value]:
    """One panel, each curve named where it ends; what its points say."""
    shown = Window(*axes.get_ylim())
    points = [point for line in curves.values() for point in zip(*line, strict=True)]
    seen = [s for s, a in points if shown.low <= a <= shown.high and s > 0]
    seconds = seen or [s for s, _ in points if s > 0] or [1.0]
    log_ticks(axes, min(seconds) / 1.2, max(seconds) * 1.1, "{:g}")
    labels, values = [], []
    for label, line in curves.items():
        look, end = drawn[label], line.accuracy[-1]
        axes.plot(line.seconds, line.accuracy, color=look.colour, linestyle=look.dashes,
                  marker="o", markersize=3.5 if len(line.seconds) < 20 else 0,
                  markerfacecolor=look.face)  # fmt: skip
        beyond = " ↓" if end < shown.low else " ↑" if end > shown.high else ""
        named = wrapped(f"{label} {end:.1f}{beyond}", wrap)
        labels.append(Label(named, line.seconds[-1], end, look.colour))
        values += [
            Value(axes, s, a, (label, f"{a:.2f} % after {s:#.3g} s"))
            for s, a in zip(line.seconds, line.accuracy, strict=True)
            if shown.low <= a <= shown.high
        ]
    at_the_end(axes, labels)
    return values


def histogram(weights: Float[np.ndarray, "k"], name: str) -> str:
    """How many examples carry which weight (mean 1). name: as in `to_svg`."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels(1, Shape("weights", 4.5, 1, 0), 1, 90.0, right=8, above=6)
        counts, edges = np.histogram(weights, bins=24)
        axes.stairs(counts, edges, fill=True, color=COLOURS[1], alpha=0.85)  # one path, not 24
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("weight")
        axes.set_ylabel("examples")
        values = [
            Value(axes, float(low + high) / 2, float(count) / 2,
                  (f"{count:.0f} of weight {low:.2f} to {high:.2f}",))
            for count, low, high in zip(counts, edges, edges[1:], strict=False)
            if count
        ]  # fmt: skip
        return to_svg(figure, "Histogram of weights", name, values)
