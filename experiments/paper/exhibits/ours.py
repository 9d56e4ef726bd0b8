"""Tables that the paper does not have: another network, the penalty, the weights' scale."""

from experiments.paper import studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import accuracy_table, short_table
from experiments.paper.study import Run, Study, of_strategies

_TABLE3 = (
    "Paper: GRAD-MATCH, Table 3 (LeNet, one V100); its speed-up is FULL's 0.82 h over the row's "
    "hours."
)

MNISTNET = Exhibit(
    "mnistnet",
    "Table 3 with the network of the PyTorch baseline's MNIST settings",
    "(The paper names LeNet.)",
    (studies.MNISTNET,),
    lambda evidence: accuracy_table(evidence, studies.MNISTNET, _TABLE3),
    short=lambda evidence: short_table(evidence, studies.MNISTNET),
)


def _beside(evidence: Evidence, study: Study, runs: list[Run]) -> str:
    """The table of a study's runs, with Table 3's fair baselines at its budgets."""
    wanted = evidence.study(study).fractions
    fair = of_strategies(evidence.runs(studies.MNIST), (*studies.FAIR, "infobatch"))
    known = [run for run in fair if run["fraction"] in (*wanted, 1.0)]
    return accuracy_table(evidence, study, _TABLE3, runs=[*runs, *known])


LAMBDA = Exhibit(
    "lambda",
    "Seven penalties, MNIST at 1 %",
    "lambda = 0.5 in all experiments.",
    (studies.LAMBDA,),
    lambda evidence: _beside(evidence, studies.LAMBDA, evidence.runs(studies.LAMBDA)),
)


def _weightings(evidence: Evidence) -> str:
    """Its table; craig-pb's first records name no weighting: their revisions' own was selection."""
    study = studies.WEIGHTING
    runs = [
        run | {"config": run["config"] | {"weighting": "selection"}}
        if run["strategy"] == "craig-pb" and run["config"].get("weighting") is None
        else run
        for run in evidence.runs(study)
    ]
    return _beside(evidence, study, runs)


WEIGHTING = Exhibit(
    "weighting",
    "Weights at mean 1 over what is not the strategy's default, MNIST",
    "(The paper does not say; the reference implementation scales by mini-batch.)",
    (studies.WEIGHTING,),
    _weightings,
)
ALL = (MNISTNET, LAMBDA, WEIGHTING)
