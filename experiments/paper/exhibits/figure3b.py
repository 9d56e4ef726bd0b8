"""Figure 3b: CIFAR-10."""

from experiments.paper import studies
from experiments.paper.exhibits.tradeoff import scatter

FIGURE3B = scatter(
    "figure3b",
    "Speed-up against relative error: CIFAR-10",
    "GRAD-MATCH's variants are Pareto-optimal in almost all cases.",
    (studies.CIFAR10, studies.CIFAR10_SMALL),
)
