"""Figure 4b: R against the budget."""

from experiments.paper import studies
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits.ablation import PLAIN, at, by_r
from experiments.paper.study import Run, Study, of_strategies

MNIST_TENTH = at(studies.MNIST, 0.1, (*studies.ABLATED, *PLAIN))

CIFAR100_TENTH = at(studies.CIFAR100, 0.1, (*studies.ABLATED, *PLAIN))


def r_and_budget(evidence: Evidence, base: Study, often: Study) -> list[Run]:
    """R = 5 on the smaller budget, R = 20 on the next; nothing where one of the two is missing."""
    small = max(evidence.study(often).fractions, default=0.05)
    wider = evidence.runs(base)
    larger = min((r["fraction"] for r in wider if small < r["fraction"] < 1), default=None)
    names = (*studies.ABLATED, *studies.FAIR, "full", "infobatch")
    kept = [r for r in of_strategies(wider, names) if r["fraction"] in (larger, 1.0)]
    kept += [r for r in of_strategies(wider, studies.FAIR) if r["fraction"] == small]
    five = [r for r in evidence.runs(often) if r["config"].get("select_every") == 5]
    return kept + five if larger is not None and five else []


FIGURE4B = by_r(
    "figure4b",
    "R = 5 with 5 % of the data against R = 20 with 10 %",
    "10 % with R = 20 is as accurate as 5 % with R = 5, and faster.",
    ((CIFAR100_TENTH, studies.CIFAR100_OFTEN), (MNIST_TENTH, studies.MNIST_OFTEN)),
    r_and_budget,
)
