"""R and the budget: what Figures 4a, 4b and 4e share.

The paper's are of CIFAR-100 and without numbers; MNIST stands in their place until that is run.
"""

import dataclasses
from collections.abc import Callable, Sequence

from experiments.paper import studies
from experiments.paper.draw import Panel
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits.tradeoff import (
    said,
    why,
)
from experiments.paper.points import measured
from experiments.paper.study import Part, Run, Study

NO_NUMBERS = "The paper has no numbers of this figure."

PLAIN = ("random", *studies.FAIR)


def at(study: Study, fraction: float, names: Sequence[str]) -> Study:
    """A part of a study's runs, with full training."""
    return dataclasses.replace(study, parts=(Part(tuple(names), (fraction,)), studies.WHOLE))


def panels_of_r(evidence: Evidence, runs_of: Callable[[Evidence, Study, Study], list[Run]],
            pairs: Sequence[tuple[Study, Study]]) -> list[Panel]:  # fmt: skip
    panels = []
    for base, often in pairs:
        runs = runs_of(evidence, base, often)
        note = "; only R = 20 measured" if runs and not evidence.runs(often) else ""
        points = measured(runs)
        panels.append(Panel(f"{base.dataset}{said(points)}{note}", points, why(runs)))
    return panels
