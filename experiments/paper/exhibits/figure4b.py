"""Figure 4b: R against the budget."""

from experiments.paper import studies
from experiments.paper.draw import trade_off
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.ablation import NO_NUMBERS, PLAIN, at, panels_of_r
from experiments.paper.exhibits.tradeoff import (
    CAPTION,
    OWN_CLOCK,
    numbers,
)
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


_WIDER = ((CIFAR100_TENTH, studies.CIFAR100_OFTEN), (MNIST_TENTH, studies.MNIST_OFTEN))

FIGURE4B = Exhibit(
    "figure4b",
    "R = 5 with 5 % of the data against R = 20 with 10 %",
    "10 % with R = 20 is as accurate as 5 % with R = 5, and faster.",
    (CIFAR100_TENTH, studies.CIFAR100_OFTEN, MNIST_TENTH, studies.MNIST_OFTEN),
    lambda evidence: numbers(panels_of_r(evidence, r_and_budget, _WIDER)) + f"\n{NO_NUMBERS}\n",
    lambda evidence, shape: trade_off(panels_of_r(evidence, r_and_budget, _WIDER), shape),
    CAPTION + OWN_CLOCK,
)
