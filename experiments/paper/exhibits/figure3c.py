"""Figure 3c: ImageNet."""

from experiments.paper import studies
from experiments.paper.exhibits.tradeoff import scatter

FIGURE3C = scatter(
    "figure3c",
    "Speed-up against relative error: ImageNet",
    "GRAD-MATCH's variants are Pareto-optimal in almost all cases.",
    (studies.IMAGENET,),
)
