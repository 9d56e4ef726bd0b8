"""R and the budget: what Figures 4a, 4b and 4e share.

The paper's are of CIFAR-100 and without numbers; MNIST stands in their place until that is run.
"""

import dataclasses
from collections.abc import Callable, Sequence

from experiments.paper import studies
from experiments.paper.draw import Panel, trade_off
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.tradeoff import CAPTION, OWN_CLOCK, numbers, said, why
from experiments.paper.points import Point, measured
from experiments.paper.study import Part, Run, Study

NO_NUMBERS = "The paper has no numbers of this figure."

PLAIN = ("random", *studies.FAIR)


def at(study: Study, fraction: float, names: Sequence[str]) -> Study:
    """A part of a study's runs, with full training."""
    return dataclasses.replace(study, parts=(Part(tuple(names), (fraction,)), studies.WHOLE))


def by_r(
    name: str,
    title: str,
    says: str,
    pairs: Sequence[tuple[Study, Study]],
    runs_of: Callable[[Evidence, Study, Study], list[Run]],
    *,
    more: str = "",
    kind: Callable[[Point], str] = Point.budget,
) -> Exhibit:
    """A figure of the tables' runs, R = 20, and of those that select more often.

    Args:
        name: of the figure.
        title: over it.
        says: what the paper says.
        pairs: of each panel the study with the tables' runs, and that with the others.
        runs_of: which of them a panel has.
        more: what its caption says beside the usual.
        kind: what a marker's shape stands for.
    """

    def panels(evidence: Evidence) -> list[Panel]:
        found = []
        for base, often in pairs:
            runs = runs_of(evidence, base, often)
            note = "; only R = 20 measured" if runs and not evidence.runs(often) else ""
            points = measured(runs)
            found.append(Panel(f"{base.dataset}{said(points)}{note}", points, why(runs)))
        return found

    return Exhibit(
        name,
        title,
        says,
        tuple(study for pair in pairs for study in pair),
        lambda evidence: numbers(panels(evidence)) + f"\n{NO_NUMBERS}\n",
        lambda evidence, shape: trade_off(panels(evidence), shape, kind=kind),
        CAPTION + OWN_CLOCK + more,
    )
