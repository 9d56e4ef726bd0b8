"""The paper's figures: speed-up against relative error, accuracy against time and against kappa."""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.paper.points import FLOOR, Point, pareto
from experiments.paper.rows import grouped, of_one_device
from experiments.paper.study import Run
from gradmatch_jax.report.drawing import (
    COLOURS,
    INK,
    MARKERS,
    STYLE,
    WIDE,
    Look,
    Shape,
    log_ticks,
    standalone,
    to_svg,
)  # fmt: skip
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import percent
from gradmatch_jax.strategies.registry import STRATEGIES, split_name

# One colour a family in every figure, so that they can be compared.
FAMILIES = (
    "gradmatch", "gradmatch-pb", "adaptive-random", "craig", "full-earlystop-fitted", "glister",
    "random", "infobatch", "craig-pb", "gradmatch-per-class",
)  # fmt: skip


def look(name: str) -> Look:
    """A strategy's colour; hollow where it starts warm."""
    family, warm = split_name(name)
    known = FAMILIES.index(family) if family in FAMILIES else list(STRATEGIES).index(family)
    return Look(COLOURS[known % len(COLOURS)], warm)


class Panel(NamedTuple):
    """One scatter plot."""

    title: str
    points: Sequence[Point]
    missing: str = "not measured"  # what stands there where there are none


@contextmanager
def styled() -> Iterator[None]:
    """The report's look."""
    with mpl.rc_context(STYLE):
        yield


def trade_off(
    panels: Sequence[Panel],
    shape: Shape = WIDE,
    *,
    gain: str = "speed-up",
    kind: Callable[[Point], str] = Point.budget,
) -> Figure:
    """Relative error against speed-up, both logarithmic: down and to the right is better.

    Args:
        panels: two a line where there is room, the paper's and ours; they share their axes.
        shape: what it is drawn for.
        gain: what the axis of x is.
        kind: what the marker's shape tells apart.
    """
    points = [point for panel in panels for point in panel.points]
    kinds = list(dict.fromkeys(map(kind, sorted(points, key=lambda p: (p.fraction, p.settings)))))
    columns = shape.columns
    rows = -(-len(panels) // columns)
    names = sorted({point.name for point in points}, key=_order)
    with styled():
        height = (3.7 if rows < 3 or columns == 1 else 2.9) * rows
        figure = Figure(figsize=(shape.width, height), layout="constrained", dpi=72)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _scatter(axes, panel, kinds, kind, shape)
            axes.set_xlabel(f"{gain} over full training (log scale)")
            axes.tick_params(labelbottom=True)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("relative error, % (log scale)")
        _log_axes(grid[0, 0], points)
        _legend_below(figure, _legend(names, kinds) if points else [])
    return figure


def _legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend in as many columns as have room; the figure grows by its lines."""
    if not handles:
        return
    wide, tall = figure.get_size_inches()
    letters = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(4, int(72 * wide // (6.4 * letters + 34))))
    figure.set_size_inches(wide, tall + 0.24 * -(-len(handles) // columns) + 0.1)
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)


def _fitted(text: str, shape: Shape) -> str:
    """A title on as many lines as its panel wants."""
    return "\n".join(textwrap.wrap(text, int(72 * shape.width / shape.columns / 6.8)))


def _order(name: str) -> tuple[int, str]:
    family, _ = split_name(name)
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)), name


def _scatter(
    axes: Axes, panel: Panel, kinds: Sequence[str], kind: Callable[[Point], str], shape: Shape
) -> None:
    axes.set_title(_fitted(panel.title, shape))
    axes.grid(alpha=0.15, color=INK)
    if not panel.points:
        axes.text(0.5, 0.5, panel.missing, transform=axes.transAxes, ha="center", wrap=True)
        return
    front = pareto(panel.points)
    axes.plot([p.gain for p in front], [p.drawn for p in front], color=INK, linewidth=1, alpha=0.6,
              linestyle=":", drawstyle="steps-pre", zorder=1)  # fmt: skip
    for point in panel.points:
        drawn = look(point.name)
        axes.plot(
            point.gain, point.drawn, MARKERS[kinds.index(kind(point)) % len(MARKERS)],
            color=drawn.colour, markerfacecolor=drawn.face, markersize=7, markeredgewidth=1.5,
        )  # fmt: skip
        if point in front:
            axes.plot(point.gain, point.drawn, "o", color=INK, markersize=13, alpha=0.6,
                      markerfacecolor="none", markeredgewidth=0.9)  # fmt: skip


def _log_axes(axes: Axes, points: Sequence[Point]) -> None:
    if not points:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    gains, errors = [p.gain for p in points], [p.drawn for p in points]
    low, high = min(errors) / 1.6, max(errors) * 1.6
    axes.set_ylim(low, high)
    ticks = [t for t in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100) if low <= t <= high]
    floor = [f"≤ {FLOOR:g}" if t == FLOOR else f"{t:g}" for t in ticks]
    axes.set_yticks(ticks, floor)
    log_ticks(axes, min(gains) / 1.3, max(gains) * 1.3, "{:g}×")


def _legend(names: Sequence[str], kinds: Sequence[str]) -> list[Line2D]:
    def handle(label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", markeredgewidth=1.5, label=label, **style)

    handles = [
        handle(name, marker="o", markersize=7, color=look(name).colour,
               markerfacecolor=look(name).face)
        for name in names
    ]  # fmt: skip
    handles += [
        handle(kind, marker=MARKERS[i % len(MARKERS)], markersize=6, color=INK, alpha=0.7)
        for i, kind in enumerate(kinds)
    ]
    return [
        *handles,
        handle("on the Pareto front", marker="o", markersize=12, color=INK, markerfacecolor="none"),
    ]


def convergence(
    runs: Sequence[Run], names: Sequence[str], shape: Shape = WIDE, unit: str = "s"
) -> Figure:
    """Test accuracy against seconds of training and selection on one device, a panel a fraction.

    Each curve is the mean of the runs of its row at the epochs that all of them tested; the legend
    of a panel says of how many. The axis of y is the error, logarithmic: near the end the curves of
    MNIST are a tenth of a point apart.
    """
    groups = {key: ended(members) for key, members in grouped(of_one_device(runs)).items()}
    shown = {k: v for k, v in groups.items() if v and k.name in (*names, "full", "infobatch")}
    fractions = sorted({key.fraction for key in shown if key.fraction < 1})
    columns = min(shape.columns, max(len(fractions), 1))
    rows = -(-max(len(fractions), 1) // columns)
    with styled():
        size = (shape.width, (4.2 if rows == 1 else 3.6) * rows)
        figure = Figure(figsize=size, layout="constrained", dpi=72)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, fraction in zip(grid.flat, fractions, strict=False):
            mine = {k: v for k, v in shown.items() if k.fraction in (fraction, 1.0)}
            for key in sorted(mine, key=lambda key: _order(key.name)):
                _curve(axes, key.name, mine[key])
            axes.set_xscale("log")
            axes.set_yscale("log")
            low, high = axes.get_xlim()
            log_ticks(axes, low, high, "{:g}")
            axes.set_title(f"{percent(fraction)} of the data")
            axes.set_xlabel(f"training + selection, {unit} (log scale)")
            axes.grid(alpha=0.15, color=INK)
            low, _ = axes.get_ylim()
            ticks = [t for t in (0.2, 0.3, 0.5, 0.7, 1, 2, 5, 10, 20, 50) if t >= low]
            axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
            axes.minorticks_off()
        for axes in list(grid.flat)[max(len(fractions), 1) :]:
            axes.set_axis_off()
        if not fractions:
            grid[0, 0].set(xticks=[], yticks=[])
            grid[0, 0].text(0.5, 0.5, "not measured", transform=grid[0, 0].transAxes, ha="center")
        for axes in grid[:, 0]:
            axes.set_ylabel("test error, % (log scale)")
        handles = {h.get_label(): h for axes in grid.flat for h in axes.get_lines()}
        _legend_below(figure, list(handles.values()))
    return figure


def _curve(axes: Axes, name: str, members: Sequence[Run]) -> None:
    points: dict[int, list[tuple[float, float]]] = {}
    for run in members:
        for epoch, seconds, accuracy in run["curve"]:
            points.setdefault(epoch, []).append((seconds, 100 - accuracy))
    whole = [np.mean(p, axis=0) for _, p in sorted(points.items()) if len(p) == len(members)]
    drawn = look(name) if name != "full" else Look(INK, False)
    said = f"{name}, {len(members)} run{'s' if len(members) != 1 else ''}"
    axes.plot(
        [s for s, _ in whole], [e for _, e in whole], color=drawn.colour, linestyle=drawn.dashes,
        label=said, linewidth=1.6, marker="o" if len(whole) == 1 else None, markersize=5,
    )  # fmt: skip


class Series(NamedTuple):
    """A panel of accuracies against a setting."""

    title: str
    lines: Mapping[str, Mapping[float, Sequence[float]]]  # by strategy and value
    levels: Mapping[str, Sequence[float]]  # of strategies that have no such setting


def against(setting: str, panels: Sequence[Series], shape: Shape = WIDE) -> Figure:
    """Accuracy against the values of a share, mean ± std: a line a strategy, a panel a data set."""
    columns = min(shape.columns, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        size = (shape.width, 3.9 * rows)
        figure = Figure(figsize=size, layout="constrained", dpi=72)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            axes.set_title(_fitted(panel.title, shape))
            axes.set_xlim(0, 1.05)
            axes.set_xlabel(_fitted(setting, shape))
            axes.set_ylabel("test accuracy, %")
            axes.grid(alpha=0.15, color=INK)
            _lines(axes, panel)
        drawn = [axes.get_legend_handles_labels() for axes in grid.flat]
        handles = {label: handle for pair in drawn for handle, label in zip(*pair, strict=True)}
        _legend_below(figure, list(handles.values()))
    return figure


def _lines(axes: Axes, panel: Series) -> None:
    if not panel.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
    for name, values in panel.lines.items():
        drawn, places = look(name), sorted(values)
        spreads = [float(np.std(values[x], ddof=1)) if len(values[x]) > 1 else 0.0 for x in places]
        axes.errorbar(
            places, [float(np.mean(values[x])) for x in places], yerr=spreads,
            color=drawn.colour, capsize=3, marker="o", linestyle=drawn.dashes,
            markerfacecolor=drawn.face,
            label=f"{name}, {min(len(values[x]) for x in places)}+ runs a point",
        )  # fmt: skip
    for name, values in panel.levels.items():
        axes.axhline(float(np.mean(values)), color=look(name).colour, linestyle=":",
                     label=f"{name}, {len(values)} runs")  # fmt: skip


def save(figure: Figure, file: Path) -> None:
    """For a document, by the file's ending: an SVG in the ink of the page that shows it, light or
    dark; a PNG or PDF in ink on white. The same each time."""
    form = file.suffix.removeprefix(".")
    file.parent.mkdir(parents=True, exist_ok=True)
    if form == "svg":
        file.write_text(
            standalone(to_svg(figure, "A figure of the paper, ours beside it", "figure")),
            encoding="utf-8",
        )
        return
    buffer = io.BytesIO()
    nothing = {"CreationDate": None} if form == "pdf" else {}
    figure.savefig(buffer, format=form, facecolor="white", metadata=nothing, dpi=130)
    file.write_bytes(buffer.getvalue())
