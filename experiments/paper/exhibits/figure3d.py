"""Figure 3d: energy saved against relative error."""

from experiments.paper import published, studies
from experiments.paper.draw import Panel, trade_off
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.table5 import TABLE
from experiments.paper.exhibits.tradeoff import numbers
from experiments.paper.lines import energy_sources
from experiments.paper.points import Point, by_joules, measured, relative_error
from experiments.paper.study import Study
from gradmatch_jax.report.summary import ended


def _paper_points(study: Study) -> list[Point]:
    spent, scores = published.figures(TABLE, study.dataset), published.accuracy_and_time(
        "table2", study.dataset
    )  # fmt: skip
    full = scores["full", 1.0].accuracy
    return [
        Point(name, f, "", spent["full", 1.0] / used,
              relative_error(scores[name, f].accuracy, full), 0)
        for (name, f), used in spent.items() if name != "full"
    ]  # fmt: skip


def _panels(evidence: Evidence) -> list[Panel]:
    panels = []
    for study in (studies.CIFAR100, studies.MNIST):
        runs = evidence.runs(study)
        why = "not measured" if not ended(runs) else f"energy {energy_sources(ended(runs))}"
        known = study is studies.CIFAR100
        panels += [
            Panel(f"{study.dataset}, the paper's", _paper_points(study) if known else [],
                  "the paper has none"),
            Panel(f"{study.dataset}, ours", measured(runs, by_joules), why),
        ]  # fmt: skip
    return panels


FIGURE3D = Exhibit(
    "figure3d",
    "Energy saved against relative error",
    "On CIFAR-100 GRAD-MATCH's variants are on the Pareto front of energy and accuracy.",
    (studies.CIFAR100, studies.MNIST),
    lambda evidence: numbers(_panels(evidence)),
    lambda evidence, shape: trade_off(_panels(evidence), shape, gain="energy ratio"),
    "Full training's energy over a strategy's, against what it loses of full training's accuracy.",
)
