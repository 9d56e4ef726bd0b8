"""Table 9: how much is never trained on."""

import dataclasses

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import budgets, every
from experiments.paper.exhibits.table8 import FRACTIONS
from experiments.paper.rows import label
from experiments.paper.study import Part, of_strategies
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import mean_and_std

REDUNDANT = dataclasses.replace(
    studies.MNIST,
    parts=(
        Part(("craig", "craig-pb", "glister", "gradmatch", "gradmatch-pb", "adaptive-random",
              "random"), FRACTIONS),
        studies.WHOLE,
    ),
    needs="never_trained",
)  # fmt: skip


def _table9(evidence: Evidence) -> str:
    by_design = ("full-earlystop-fitted", "infobatch")
    names = ("craig", "craig-pb", "glister", "gradmatch", "gradmatch-pb", "random",
             "adaptive-random", *by_design)  # fmt: skip
    shares: dict[tuple[str, float], dict[int, float]] = {}  # by seed: one made twice is one
    without: set[tuple[str, float, int]] = set()
    for run in of_strategies(ended(evidence.runs(REDUNDANT)), names[: -len(by_design)]):
        share = run.get("never_trained")
        if share is None:
            without.add((label(run), run["fraction"], run["seed"]))
        else:
            shares.setdefault((label(run), run["fraction"]), {}).setdefault(run["seed"], share)
    without -= {(*key, seed) for key, seeds in shares.items() for seed in seeds}

    def ours(name: str, fraction: float) -> str | None:
        if name in by_design:
            return "0 by design"
        values = shares.get((name, fraction))
        return (
            None if values is None else f"{mean_and_std(list(values.values()), 2)} ({len(values)})"
        )

    paper = published.figures("table9_redundant_points_percent_mnist", "rows")
    fractions = every(evidence.study(REDUNDANT).fractions)
    text = budgets(names, fractions, ours, {} if evidence.asked.quick else paper, "{:.2f}")
    return text + (
        "\nTraining examples in none of a run's selections, percent; mean ± std over the runs in "
        "parentheses. 10 selections of k examples leave at least 1 - 10 k/n.\n"
        + (f"{len(without)} runs are of revisions that did not count them.\n" if without else "")
    )


TABLE9 = Exhibit(
    "table9",
    "Redundant points: never trained on, MNIST",
    "At 1 % some 90 % of MNIST is never used, at 10 % 36 %.",
    (REDUNDANT,),
    _table9,
)
