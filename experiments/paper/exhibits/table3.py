"""Table 3: accuracy and time on MNIST."""

from experiments.paper import studies
from experiments.paper.exhibit import Exhibit
from experiments.paper.exhibits.cells import accuracy_table, short_table

_TABLE3 = (
    "Paper: GRAD-MATCH, Table 3 (LeNet, one V100); its speed-up is FULL's 0.82 h over the row's "
    "hours."
)

TABLE3 = Exhibit(
    "table3",
    "Accuracy and time on MNIST",
    "GRAD-MATCHPB-WARM is the best at every budget: 99.0 % at 1 %, 99.3 % at 5 %.",
    (studies.MNIST,),
    lambda evidence: accuracy_table(evidence, studies.MNIST, _TABLE3),
    short=lambda evidence: short_table(evidence, studies.MNIST),
)
