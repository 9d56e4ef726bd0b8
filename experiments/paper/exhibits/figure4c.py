"""Figure 4c: per batch against per example."""

import dataclasses

from experiments.paper import studies
from experiments.paper.exhibits.tradeoff import (
    scatter,
)
from experiments.paper.study import Part

COLD, BATCHES = ("gradmatch", "craig"), ("gradmatch-pb", "craig-pb")

FIGURE4C = scatter(
    "figure4c",
    "Per batch against per example",
    "The per-batch versions of CRAIG and GRAD-MATCH have the better trade of accuracy and speed.",
    (
        dataclasses.replace(
            studies.CIFAR100,
            parts=(Part((*COLD, *BATCHES, *studies.FAIR), studies.TENTHS), studies.WHOLE),
        ),
        dataclasses.replace(
            studies.MNIST,
            parts=(Part((*COLD, *BATCHES, *studies.FAIR), (0.01, 0.05)), studies.WHOLE),
        ),
    ),
    strategies=(*COLD, *BATCHES, *studies.FAIR, "infobatch", "full"),
    more="The paper's points are Tables 2's and 3's.",
)
