"""Figure 3e: convergence, test error against time."""

from matplotlib.figure import Figure

from experiments.paper import studies
from experiments.paper.draw import convergence
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import accuracy_table
from experiments.paper.exhibits.tradeoff import MNIST
from experiments.paper.study import Run, of_strategies
from gradmatch_jax.report.drawing import Shape

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
