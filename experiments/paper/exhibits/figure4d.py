"""Figure 4d: warm starts against cold ones."""

import dataclasses

from experiments.paper import studies
from experiments.paper.exhibits.tradeoff import (
    scatter,
)
from experiments.paper.study import Part

WARMED = ("gradmatch", "gradmatch-pb", "craig", "craig-pb", "glister")

_WARM = (*WARMED, *(f"{name}-warm" for name in WARMED), *studies.FAIR)

FIGURE4D = scatter(
    "figure4d",
    "Warm starts against cold ones",
    "A warm start helps, most at small budgets.",
    (
        dataclasses.replace(
            studies.CIFAR100, parts=(Part(_WARM, studies.TENTHS), studies.WHOLE)
        ),
        dataclasses.replace(studies.MNIST, parts=(Part(_WARM, (0.01, 0.05)), studies.WHOLE)),
    ),
    strategies=(*_WARM, "infobatch", "full"),
    more="The paper's points are Tables 2's and 3's.",
)  # fmt: skip
