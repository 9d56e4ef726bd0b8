"""Figure 3a: CIFAR-100, and MNIST in its place."""

from experiments.paper import studies
from experiments.paper.exhibits.tradeoff import MNIST, scatter

FIGURE3A = scatter(
    "figure3a",
    "Speed-up against relative error: CIFAR-100, and MNIST in its place",
    "GRAD-MATCH's variants are Pareto-optimal in almost all cases.",
    (studies.CIFAR100, MNIST),
)
