"""Figures 1 and 3 a-c, e-g: accuracy against speed, convergence, imbalance."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.paper import studies
from experiments.paper.draw import Panel, convergence, trade_off
from experiments.paper.exhibit import Evidence, Exhibit, paper_of
from experiments.paper.exhibits.cells import accuracy_table, titled
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

FIGURE1 = scatter(
    "figure1",
    "The efficiency of GRAD-MATCHPB-WARM relative to full training",
    "7, 4.2 and 3 times as fast on CIFAR-10 for a loss of 2.8, 1.5 and 0.9 points; 3 times on "
    "ImageNet for 1.3.",
    (studies.CIFAR10, studies.CIFAR100, studies.IMAGENET, MNIST),
    strategies=("gradmatch-pb-warm", *studies.FAIR, "infobatch", "full"),
    more="The fair baselines are ours: the paper has none.",
)
FIGURE3A = scatter(
    "figure3a",
    "Speed-up against relative error: CIFAR-100, and MNIST in its place",
    "GRAD-MATCH's variants are Pareto-optimal in almost all cases.",
    (studies.CIFAR100, MNIST),
)
FIGURE3B = scatter(
    "figure3b",
    "Speed-up against relative error: CIFAR-10",
    "GRAD-MATCH's variants are Pareto-optimal in almost all cases.",
    (studies.CIFAR10, studies.CIFAR10_SMALL),
)
FIGURE3C = scatter(
    "figure3c",
    "Speed-up against relative error: ImageNet",
    "GRAD-MATCH's variants are Pareto-optimal in almost all cases.",
    (studies.IMAGENET,),
)

_CURVES = (
    "gradmatch", "gradmatch-pb", "gradmatch-pb-warm", "craig", "glister", "random", *studies.FAIR,
)  # fmt: skip


def _of_curves(evidence: Evidence) -> list[Run]:
    """At the budgets of which every seed is of one device: seconds of several have no mean."""
    shown = (*evidence.study(MNIST).fractions, 1.0)
    runs = of_strategies(evidence.runs(MNIST), (*_CURVES, "full", "infobatch"))
    return [run for run in runs if run["fraction"] in shown]


def _figure3e(evidence: Evidence, shape: Shape) -> Figure:
    return convergence(_of_curves(evidence), _CURVES, shape)


FIGURE3E = Exhibit(
    "figure3e",
    "Convergence: test error against time (MNIST in the place of CIFAR-100 at 30 %)",
    "GRAD-MATCH's variants reach a given accuracy first.",
    (MNIST,),
    lambda evidence: accuracy_table(
        evidence, MNIST, "Paper: GRAD-MATCH, Table 3; its Figure 3e has no numbers.",
        runs=_of_curves(evidence), names=(*_CURVES, "full", "infobatch"),
    ),
    _figure3e,
    "Means of the runs that the legend counts, at the epochs that all of them tested; dashed lines "
    "start warm. full-earlystop-fitted is tested at its end alone.",
)  # fmt: skip


def _imbalanced(name: str, *shown: Study) -> Exhibit:
    cases = [(study, share) for study in shown for share in (0.1, 0.5)]

    def runs_at(evidence: Evidence, study: Study, share: float) -> list[Run]:
        return [run for run in evidence.runs(study) if run["config"].get("imbalance") == share]

    def case(study: Study, share: float) -> str:
        return f"{study.dataset}, {study.model}, {percent(share)} left of 30 % of the classes"

    def panels(evidence: Evidence) -> list[Panel]:
        found = []
        for study, share in cases:
            runs = runs_at(evidence, study, share)
            points = measured(runs)
            found.append(Panel(case(study, share) + said(points), points, why(runs)))
        return found

    def table(evidence: Evidence) -> str:
        source = "The paper has no numbers of this figure."
        parts = [
            (case(study, share),
             accuracy_table(evidence, study, source, runs=runs_at(evidence, study, share)))
            for study, share in cases
        ]  # fmt: skip
        drawn = f"{numbers(panels(evidence))}\n{OWN_CLOCK.strip()}\n"
        return titled(*parts, ("What the figure draws", drawn))

    return Exhibit(
        name,
        f"Class imbalance: {shown[0].dataset}",
        "GRAD-MATCH's variants are above all others, but for GLISTER at 30 % of MNIST; on MNIST "
        "GRAD-MATCH-WARM is above full training.",
        shown,
        table,
        lambda evidence, shape: trade_off(panels(evidence), shape),
        CAPTION + OWN_CLOCK + "Both readings of the text: a tenth left (A.3.2), a half (A.3.4). "
        "GRAD-MATCH's forms are there twice: the gradient they match is the training set's, or the "
        "clean validation set's.",
    )


FIGURE3F = _imbalanced("figure3f", studies.MNIST_IMBALANCED)
FIGURE3G = _imbalanced("figure3g", studies.CIFAR10_IMBALANCED, studies.CIFAR10_SMALL_IMBALANCED)
