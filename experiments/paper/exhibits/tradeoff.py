"""Speed-up against relative error: what Figures 1, 3 and 4 share."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.paper import studies
from experiments.paper.draw import Panel, trade_off
from experiments.paper.exhibit import Evidence, Exhibit, paper_of
from experiments.paper.points import Point, fewest, measured, published
from experiments.paper.study import Part, Run, Study, of_strategies
from gradmatch_jax.report.drawing import Shape
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import Column, markdown, percent

SHOWN = (*studies.ROWS, "full", "infobatch")

CAPTION = (
    "Down and to the right is better. Filled markers are cold starts, hollow ones warm; the dotted "
    "line joins the circled points, which no other beats in both. What is level with full training "
    "or above it stands at 0.01. "
)

OWN_CLOCK = (
    "A speed-up is by the run's own clock: what full training takes at the pace of its own steps, "
    "over what it took; runs of several sessions of a shared machine are comparable so. "
)


def panels_of(
    evidence: Evidence, shown: Sequence[Study], names: Sequence[str] = SHOWN
) -> list[Panel]:
    """Two panels a study: the paper's points, and ours where there are any."""
    panels = []
    for study in shown:
        runs = list(of_strategies(evidence.runs(study), names))
        theirs = [p for p in published(paper_of(study)) if p.name in names]
        ours = measured(runs)
        panels += [
            Panel(f"{study.dataset}, the paper's ({_network(study)})", theirs, "none in the paper"),
            Panel(f"{study.dataset}, ours ({study.model}{said(ours)})", ours, why(runs)),
        ]
    return panels


def _network(study: Study) -> str:
    return "LeNet" if study.dataset == "mnist" else "ResNet-18"


def said(points: Sequence[Point]) -> str:
    """How many runs a point is a mean of, to put in a title."""
    n = fewest(points)
    return f", n ≥ {n}" if n else ""


def why(runs: Sequence[Run]) -> str:
    """What stands in a panel without points."""
    if not ended(runs):
        return "not measured"
    return "no full training yet: nothing to compare with"


def numbers(panels: Sequence[Panel]) -> str:
    """The points of a figure as a table."""
    rows = [(panel.title, point) for panel in panels for point in panel.points]
    columns: list[Column[tuple[str, Point]]] = [
        Column("panel", lambda row: row[0]),
        Column("strategy", lambda row: ", ".join(filter(None, (row[1].name, row[1].settings)))),
        Column("k/n", lambda row: row[1].fraction, percent),
        Column("gain", lambda row: row[1].gain, "{:.2f}"),
        Column("relative error %", lambda row: row[1].error, "{:.2f}"),
        Column("runs", lambda row: row[1].runs or None),
    ]
    empty = "".join(f"\n{p.title}: {p.missing}.\n" for p in panels if not p.points)
    return markdown(columns, rows) + empty


def scatter(
    name: str,
    title: str,
    says: str,
    shown: Sequence[Study],
    *,
    strategies: Sequence[str] = SHOWN,
    more: str = "",
) -> Exhibit:
    """A figure of speed-up against relative error, a line of panels a study."""

    def figure(evidence: Evidence, shape: Shape) -> Figure:
        return trade_off(panels_of(evidence, shown, strategies), shape)

    def table(evidence: Evidence) -> str:
        return numbers(panels_of(evidence, shown, strategies))

    return Exhibit(name, title, says, tuple(shown), table, figure, CAPTION + OWN_CLOCK + more)


# The tables' own runs at the budgets that were looked at first: the rest is not waited for.
MNIST = dataclasses.replace(
    studies.MNIST, parts=(Part(studies.ROWS, (0.01, 0.05)), studies.WHOLE)
)  # fmt: skip
