"""Table 4: accuracy and time on ImageNet."""

from experiments.paper import studies
from experiments.paper.exhibit import Exhibit
from experiments.paper.exhibits.cells import accuracy_table

_TABLE4 = "Paper: GRAD-MATCH, Table 4 (ResNet-18, one RTX 2080); its speed-up is against FULL's."

TABLE4 = Exhibit(
    "table4",
    "Accuracy and time on ImageNet",
    "GRAD-MATCHPB-WARM at 30 % loses 1.3 points and is 3.2 times as fast.",
    (studies.IMAGENET,),
    lambda evidence: accuracy_table(evidence, studies.IMAGENET, _TABLE4),
)
