"""The figures of the report, as SVG that takes the page's font and text colour."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradmatch_jax.report.summary import Row, group, seconds_of
from gradmatch_jax.report.tables import percent
from gradmatch_jax.strategies.registry import split_name

# Readable on white and on near-black alike.
COLOURS = (
    "#d9822b", "#3b82c4", "#2a9d6f", "#b3539b", "#c0504d", "#7a6fd0", "#a08a1f", "#3a9ea8",
    "#9a6b4b", "#6f8f3a",
)  # fmt: skip
MARKERS = "osD^vPX*h<>"
# Drawn in this colour, which no series has, and then replaced by the page's own.
INK = "#010203"
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "xtick.minor.visible": False,
}


class Look(NamedTuple):
    """How a strategy is drawn: a colour a family, dashed and hollow where it starts warm."""

    colour: str
    warm: bool

    @property
    def dashes(self) -> tuple:
        """The line's style."""
        return (0, (3, 1.2)) if self.warm else (0, ())

    @property
    def face(self) -> str:
        """The marker's fill."""
        return "none" if self.warm else self.colour


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each label but `full`; NAME and NAME-warm share a colour."""
    names = dict.fromkeys(split_name(label)[0] for label in labels if label != "full")
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    pairs = ((label, split_name(label)) for label in dict.fromkeys(labels) if label != "full")
    return {label: Look(colours[name], warm) for label, (name, warm) in pairs}


def to_svg(figure: Figure, title: str, name: str) -> str:
    """The figure as an inline SVG element that scales with the page.

    name: what its identifiers start with; no two figures of a page may share it
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg ") :].replace(INK, "currentColor")
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def scatter(table: Sequence[Row]) -> str:
    """Accuracy against speed-up: up and to the right is better. Full comes first."""
    full, others = table[0], table[1:]
    assert full.accuracy is not None, "no yardstick to draw"
    fractions = sorted({row.fraction for row in others})
    drawn = looks([row.label for row in others])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.axhline(full.accuracy, color=INK, linewidth=1, alpha=0.55)
        axes.plot(1, full.accuracy, "o", color=INK, markersize=8)
        axes.annotate("full training", (1, full.accuracy), (7, 6), textcoords="offset points")
        for row in others:
            if row.speedup is None or row.accuracy is None:
                continue
            look = drawn[row.label]
            axes.errorbar(
                row.speedup, row.accuracy, yerr=row.accuracy_std, color=look.colour,
                fmt=MARKERS[fractions.index(row.fraction) % len(MARKERS)], capsize=3,
                markersize=8, markerfacecolor=look.face, markeredgewidth=1.6, elinewidth=1,
            )  # fmt: skip
        for fraction in fractions:
            axes.axvline(1 / fraction, color=INK, linestyle=":", linewidth=1, alpha=0.7)
            axes.annotate(
                f"ceiling at {percent(fraction)}", (1 / fraction, 0.02), (-4, 0),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                rotation=90, ha="right", va="bottom", fontsize=8, alpha=0.8,
            )  # fmt: skip
        axes.set_xscale("log")
        speedups = [1.0, *(row.speedup or 1.0 for row in others), *(1 / f for f in fractions)]
        log_ticks(axes, min(speedups) / 1.15, max(speedups) * 1.2, "{:g}×")
        axes.set_xlabel("speed-up over full training (log scale)")
        axes.set_ylabel("test accuracy, %")
        axes.grid(alpha=0.15, color=INK)
        _legend(figure, drawn, fractions)
        return to_svg(figure, "Test accuracy against speed-up", "scatter")


def _legend(figure: Figure, drawn: dict[str, Look], fractions: Sequence[float]) -> None:
    handles = [
        Line2D([], [], color=look.colour, marker="o", linestyle="none", markersize=7,
               markerfacecolor=look.face, markeredgewidth=1.6, label=label)
        for label, look in drawn.items()
    ]  # fmt: skip
    handles += [
        Line2D([], [], color=INK, marker=MARKERS[i % len(MARKERS)], linestyle="none",
               markersize=6, alpha=0.7, label=f"{percent(fraction)} of the data")
        for i, fraction in enumerate(fractions)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper")


def log_ticks(axes: Axes, low: float, high: float, form: str) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis of x from `low` to `high`, in plain numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    ticks = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [form.format(tick) for tick in ticks])
    axes.minorticks_off()


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


def convergence(runs: Sequence[dict[str, Any]]) -> str:
    """Test accuracy against the seconds spent, a panel a fraction, `full` in each.

    The accuracy axis starts a little below the worst final accuracy: where the curves are apart.
    """
    curves = {key: curve(members) for key, members in group(runs).items()}
    full = next(c for (label, _), c in curves.items() if label == "full")
    drawn = looks([label for label, _ in curves])
    fractions = sorted({fraction for label, fraction in curves if label != "full"})
    columns = min(2, len(fractions)) or 1
    lines = -(-len(fractions) // columns) or 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.6 * lines + 0.8), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, fraction in zip(grid.flat, fractions, strict=False):
            axes.plot(*full, color=INK, alpha=0.75, label="full")
            for (label, its), line in curves.items():
                if label != "full" and its == fraction:
                    look = drawn[label]
                    axes.plot(*line, color=look.colour, linestyle=look.dashes, label=label,
                              marker="o", markersize=4, markerfacecolor=look.face)  # fmt: skip
            axes.set_title(f"{percent(fraction)} of the data")
            axes.set_xlabel("training + selection, seconds (log scale)")
            axes.grid(alpha=0.15, color=INK)
        _limits(grid[0, 0], list(curves.values()))
        for axes in list(grid.flat)[len(fractions) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("test accuracy, %")
        handles = {h.get_label(): h for axes in grid.flat for h in axes.get_lines()}
        figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=4)
        return to_svg(figure, "Test accuracy against seconds of training", "convergence")


def _limits(axes: Axes, curves: Sequence[Curve]) -> None:
    seconds = [s for line in curves for s in line.seconds if s > 0]
    axes.set_xscale("log")
    if seconds:
        log_ticks(axes, min(seconds) / 1.2, max(seconds) * 1.2, "{:g}")
    accuracies = [a for line in curves for a in line.accuracy]
    lowest_final = min((line.accuracy[-1] for line in curves if line.accuracy), default=0.0)
    bottom = max(min(accuracies, default=0.0), lowest_final - 10) - 1
    axes.set_ylim(bottom, max(accuracies, default=100.0) + 1)


def histogram(weights: Float[np.ndarray, "k"], name: str) -> str:
    """How many examples carry which weight (mean 1). name: as in `to_svg`."""
    with mpl.rc_context(STYLE | {"font.size": 8}):
        figure = Figure(figsize=(3.4, 1.5), layout="constrained")
        axes = figure.subplots()
        axes.hist(weights, bins=24, color=COLOURS[1], alpha=0.85)
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("weight")
        axes.set_ylabel("examples")
        return to_svg(figure, "Histogram of weights", name)
