"""Figure 4a: how often to select."""

from experiments.paper import studies
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits.ablation import PLAIN, at, by_r
from experiments.paper.points import Point
from experiments.paper.study import Run, Study, of_strategies

MNIST = at(studies.MNIST, 0.05, (*studies.ABLATED, *PLAIN))

CIFAR100 = at(studies.CIFAR100, 0.05, (*studies.ABLATED, *PLAIN))


def interval(point: Point) -> str:
    """R, of a point whose settings name it where it is not the only one."""
    found = [part for part in point.settings.split(", ") if part.startswith("select_every")]
    return found[0].replace("select_every", "R =") if found else "R = 20, or none"


def every_r(evidence: Evidence, base: Study, often: Study) -> list[Run]:
    """The tables' runs, R = 20, and those at other R, at the latter's budgets."""
    fractions = {*evidence.study(often).fractions, 1.0}
    plain = of_strategies(evidence.runs(base), (*studies.ABLATED, *PLAIN, "full", "infobatch"))
    return [*(run for run in plain if run["fraction"] in fractions), *evidence.runs(often)]


FIGURE4A = by_r(
    "figure4a",
    "How often to select: R = 5, 10 and 20",
    "GRAD-MATCH's variants are above the others at every R.",
    ((CIFAR100, studies.CIFAR100_OFTEN), (MNIST, studies.MNIST_OFTEN)),
    every_r,
    more="5 % of the data; the shape is R.",
    kind=interval,
)
