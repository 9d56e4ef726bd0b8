"""Rare classes: what Figures 3f and 3g share."""

from experiments.paper.draw import Panel, trade_off
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import accuracy_table, titled
from experiments.paper.exhibits.tradeoff import CAPTION, OWN_CLOCK, numbers, said, why
from experiments.paper.points import measured
from experiments.paper.study import Run, Study
from gradmatch_jax.report.tables import percent


def imbalanced(name: str, *shown: Study) -> Exhibit:
    cases = [(study, share) for study in shown for share in (0.1, 0.5)]

    def runs_at(evidence: Evidence, study: Study, share: float) -> list[Run]:
        return [run for run in evidence.runs(study) if run["config"].get("imbalance") == share]

    def case(study: Study, share: float) -> str:
        return f"{study.dataset}, {study.model}, {percent(share)} left of 30 % of the classes"

    def panels(evidence: Evidence) -> list[Panel]:
        found = []
        for study, share in cases:
            runs = runs_at(evidence, study, share)
            points = measured(runs)
            found.append(Panel(case(study, share) + said(points), points, why(runs)))
        return found

    def table(evidence: Evidence) -> str:
        source = "The paper has no numbers of this figure."
        parts = [
            (case(study, share),
             accuracy_table(evidence, study, source, runs=runs_at(evidence, study, share)))
            for study, share in cases
        ]  # fmt: skip
        drawn = f"{numbers(panels(evidence))}\n{OWN_CLOCK.strip()}\n"
        return titled(*parts, ("What the figure draws", drawn))

    return Exhibit(
        name,
        f"Class imbalance: {shown[0].dataset}",
        "GRAD-MATCH's variants are above all others, but for GLISTER at 30 % of MNIST; on MNIST "
        "GRAD-MATCH-WARM is above full training.",
        shown,
        table,
        lambda evidence, shape: trade_off(panels(evidence), shape),
        CAPTION + OWN_CLOCK + "Both readings of the text: a tenth left (A.3.2), a half (A.3.4). "
        "GRAD-MATCH's forms are there twice: the gradient they match is the training set's, or the "
        "clean validation set's.",
    )
