"""Table 10: the forms of GRAD-MATCH."""

import dataclasses

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit, paper_of
from experiments.paper.exhibits.cells import accuracy_table, titled

_OF_MNIST = dataclasses.replace(
    studies.MNIST,
    parts=(studies.Part((*studies.FORMS, *studies.FAIR), (0.01, 0.05)), studies.WHOLE),
)


def _table10(evidence: Evidence) -> str:
    parts = []
    for study, own in (
        (studies.CIFAR100, studies.CIFAR100_FORMS),
        (studies.CIFAR10, studies.CIFAR10_FORMS),
    ):
        paper = paper_of(study) | published.forms(study.dataset)
        both = dataclasses.replace(study, parts=(*study.parts, *own.parts))
        runs = [*evidence.runs(study), *evidence.runs(own)]
        text = accuracy_table(evidence, both, _TABLE10, names=_TENS, paper=paper, runs=runs)
        parts.append((f"{study.dataset}, {study.model}", text))
    mnist = accuracy_table(
        evidence, _OF_MNIST, "The paper has no such table of MNIST; its figures are Table 3's.",
        names=_TENS,
    )  # fmt: skip
    return titled(*parts, ("mnist, lenet, in their place", mnist))


_TENS = (*studies.FORMS, *studies.FAIR, "full", "infobatch")

_TABLE10 = "Paper: GRAD-MATCH, Table 10; gradmatch is PerClassPerGradient, gradmatch-pb PerBatch."

TABLE10 = Exhibit(
    "table10",
    "The forms of GRAD-MATCH: per class and gradient, per class exactly, per batch",
    "The exact per-class form is slower and at large budgets better; per batch is the best trade.",
    (studies.CIFAR100, studies.CIFAR100_FORMS, studies.CIFAR10, studies.CIFAR10_FORMS, _OF_MNIST),
    _table10,
)
