"""Table 11: methods that score the examples by another network."""

import dataclasses

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import accuracy_table, titled

_TABLE11 = (
    "Paper: GRAD-MATCH, Table 11, whose data sets' labels are exchanged in print: 91-94 % are "
    "CIFAR-10's. The scored methods' figures are Coleman et al.'s, of ResNet-164."
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
