"""Table 2: accuracy and time on CIFAR-10, CIFAR-100 and SVHN."""

from experiments.paper import studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import accuracy_table, titled

_TABLE2 = "Paper: GRAD-MATCH, Table 2 (ResNet-18, one V100); its speed-up is against FULL's hours."


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
