"""The README's figure: test accuracy against time, of the records of MNIST.

    python -m experiments.readme_figure

Writes accuracy-time-SHAPE-SCHEME.svg, wide and narrow, light and dark, into --out. A point is a
method at one budget, mean ± standard deviation over its seeds; a line joins its budgets and has its
name at the largest. Seconds
are medians, of training and selection, as everywhere.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from experiments.command import command
from experiments.paper.draw import look
from experiments.paper.lines import accuracy_of
from experiments.paper.rows import Run, device_of, grouped, paused, timing_device
from experiments.records import read
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.drawing import (
    INK,
    NARROW,
    SCHEMES,
    STYLE,
    WIDE,
    Look,
    Shape,
    log_ticks,
    standalone,
    to_svg,
)  # fmt: skip
from gradmatch_jax.report.figures import panels, window
from gradmatch_jax.report.labels import Label, beside, wrapped
from gradmatch_jax.report.summary import ended, seconds_of
from gradmatch_jax.report.tables import percent

TITLE = "MNIST, LeNet: test accuracy against seconds of training and selection"


@dataclass(frozen=True)
class Settings:
    """What is drawn, and where to."""

    records: Path = Path("results/mnist_table3.jsonl")
    names: tuple[str, ...] = (
        "full", "infobatch", "adaptive-random", "full-earlystop-fitted", "gradmatch", "craig",
        "random",
    )  # fmt: skip
    """The methods; a line each."""
    fractions: tuple[float, ...] = (0.01, 0.05, 1.0)
    """Budgets of which the seconds compare: of one session of the machine."""
    out: Path = Path("docs/figures")


@dataclass(frozen=True)
class Point:
    """A method at a budget, of the runs that ended."""

    fraction: float
    seconds: float
    accuracy: float
    spread: float
    runs: int


def points(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[Point]]:
    """By method, the smallest budget first; those that have runs on the device that is timed.

    Accuracies are of every seed, wherever it was run; seconds are of that device alone.

    Raises:
        UserError: none has.
    """
    found: dict[str, list[Point]] = {}
    device = timing_device(runs)
    rows: dict[tuple[float, str], list[Run]] = {}
    for key, members in grouped(runs).items():
        rows.setdefault((key.fraction, key.name), []).extend(ended(members))
    for (fraction, name), whole in sorted(rows.items(), key=lambda item: item[0][0]):
        here = [run for run in whole if device_of(run) == device and not paused(run)]
        if name in names and here:
            seeds = {run["seed"]: accuracy_of(run) for run in (*whole, *here)}  # its own count
            mean = statistics.fmean(seeds.values())
            spread = statistics.stdev(seeds.values()) if len(seeds) > 1 else 0.0
            seconds = statistics.median(map(seconds_of, here))
            found.setdefault(name, []).append(Point(fraction, seconds, mean, spread, len(seeds)))
    if not found:
        raise UserError("no run of these methods in the records: see `--records`")
    return found


def draw(found: dict[str, list[Point]], shape: Shape) -> str:
    """The figure as SVG that takes the page's ink."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels(1, shape, 1, 300 if shape is WIDE else 330, right=16)
        every = [point for its in found.values() for point in its]
        shown = window([p.accuracy for p in every], [p.spread for p in every])
        axes.set_ylim(*shown)
        seconds = [point.seconds for point in every]
        log_ticks(axes, min(seconds) / 1.5, max(seconds) * 1.5, "{:g}")
        labels = [label for name, its in found.items() for label in _line(axes, name, its, shape)]
        beside(axes, labels)
        axes.grid(alpha=0.15, color=INK)
        axes.set_ylabel("test accuracy, %")
        axes.set_xlabel("training + selection, seconds, one core (log scale)")
        runs = {point.runs for point in every}
        seeds = f"{min(runs)} to {max(runs)}" if len(runs) > 1 else str(*runs)
        title = f"MNIST, LeNet, mean ± std of {seeds} seeds"
        axes.set_title(title, loc="left")
        return to_svg(figure, TITLE, f"readme-{shape.name}")


def _line(axes: Axes, name: str, its: Sequence[Point], shape: Shape) -> list[Label]:
    """Draw a method; what is to be written beside its points."""
    drawn = Look(INK, False) if name == "full" else look(name)
    low, high = axes.get_ylim()
    axes.plot([p.seconds for p in its], [p.accuracy for p in its], color=drawn.colour, alpha=0.6,
              linewidth=1.3)  # fmt: skip
    labels = []
    for point in its:
        below = point.accuracy < low
        y = low + 0.04 * (high - low) if below else point.accuracy
        axes.errorbar(point.seconds, y, yerr=None if below else point.spread or None,
                      fmt="v" if below else "o", color=drawn.colour, markersize=7, capsize=2,
                      elinewidth=0.9)  # fmt: skip
        # One name a line; a no-break space holds a budget together.
        named = name if point is its[-1] else ""
        budget = "" if point.fraction == 1 else percent(point.fraction).replace(" ", "\u00a0")
        value = f": {point.accuracy:.1f}" if below else ""
        text = wrapped(f"{named} {budget}{value}".strip(), 40 if shape is WIDE else 18)
        labels.append(Label(text, point.seconds, y, drawn.colour))
    return labels


def main(args: Settings) -> None:
    """Write the files and say which."""
    if not args.records.exists():
        raise UserError(f"no {args.records}: name a file of records by --records")
    runs = [run for run in read(args.records) if run["fraction"] in args.fractions]
    found = points(runs, args.names)
    args.out.mkdir(parents=True, exist_ok=True)
    for shape in (WIDE, NARROW):
        svg = draw(found, shape)
        for scheme in SCHEMES:
            file = args.out / f"accuracy-time-{shape.name}-{scheme}.svg"
            file.write_text(standalone(svg, scheme), encoding="utf-8")
            print(file)


if __name__ == "__main__":
    command(main, Settings)
