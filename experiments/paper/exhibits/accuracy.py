"""Tables 2, 3, 4, 10 and 11: test accuracy, and what it takes."""

import dataclasses

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit, paper_of
from experiments.paper.exhibits.cells import accuracy_table, short_table, titled

_TABLE2 = "Paper: GRAD-MATCH, Table 2 (ResNet-18, one V100); its speed-up is against FULL's hours."
_TABLE3 = (
    "Paper: GRAD-MATCH, Table 3 (LeNet, one V100); its speed-up is FULL's 0.82 h over the row's "
    "hours."
)
_TABLE4 = "Paper: GRAD-MATCH, Table 4 (ResNet-18, one RTX 2080); its speed-up is against FULL's."
_TABLE11 = (
    "Paper: GRAD-MATCH, Table 11, whose data sets' labels are exchanged in print: 91-94 % are "
    "CIFAR-10's. The scored methods' figures are Coleman et al.'s, of ResNet-164."
)


def _table2(evidence: Evidence) -> str:
    return titled(
        *(
            (f"{study.dataset}, {study.model}", accuracy_table(evidence, study, _TABLE2))
            for study in (studies.CIFAR10, studies.CIFAR100, studies.SVHN, studies.CIFAR10_SMALL)
        )
    )


TABLE2 = Exhibit(
    "table2",
    "Accuracy and time on CIFAR-10, CIFAR-100 and SVHN",
    "GRAD-MATCHPB-WARM at 10 to 30 % of CIFAR-10 is within 0.9 to 2.8 points of full training at 3 "
    "to 7 times its speed.",
    (studies.CIFAR10, studies.CIFAR100, studies.SVHN, studies.CIFAR10_SMALL),
    _table2,
)
TABLE3 = Exhibit(
    "table3",
    "Accuracy and time on MNIST",
    "GRAD-MATCHPB-WARM is the best at every budget: 99.0 % at 1 %, 99.3 % at 5 %.",
    (studies.MNIST,),
    lambda evidence: accuracy_table(evidence, studies.MNIST, _TABLE3),
    short=lambda evidence: short_table(evidence, studies.MNIST),
)
TABLE4 = Exhibit(
    "table4",
    "Accuracy and time on ImageNet",
    "GRAD-MATCHPB-WARM at 30 % loses 1.3 points and is 3.2 times as fast.",
    (studies.IMAGENET,),
    lambda evidence: accuracy_table(evidence, studies.IMAGENET, _TABLE4),
)

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


def _table11(evidence: Evidence) -> str:
    parts = []
    for study, proxies in (
        (studies.CIFAR10, studies.CIFAR10_PROXIES),
        (studies.CIFAR100, studies.CIFAR100_PROXIES),
    ):
        at_30 = dataclasses.replace(
            study, parts=(studies.Part(("gradmatch-pb-warm", *studies.FAIR), (0.3,)), studies.WHOLE)
        )
        both = dataclasses.replace(at_30, parts=(*proxies.parts, *at_30.parts))
        runs = [*evidence.runs(proxies), *evidence.runs(study)]
        at = (*evidence.study(both).fractions, 1.0)
        runs = [run for run in runs if run["fraction"] in at]
        names = (*studies.SCORED, "gradmatch-pb-warm", *studies.FAIR, "full", "infobatch")
        paper = published.others(study.dataset)
        text = accuracy_table(evidence, both, _TABLE11, names=names, paper=paper, runs=runs)
        parts.append((f"{study.dataset} at 30 %", text))
    return titled(*parts)


TABLE11 = Exhibit(
    "table11",
    "Methods that score the examples by another network, at 30 %",
    "GRAD-MATCHPB-WARM on ResNet-18 is above facility location, forgetting and entropy.",
    (studies.CIFAR10, studies.CIFAR10_PROXIES, studies.CIFAR100, studies.CIFAR100_PROXIES),
    _table11,
)
