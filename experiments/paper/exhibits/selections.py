"""Tables 8 and 9: how well a selection's gradient matches, and how much is never trained on."""

import dataclasses
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.bench import matching_error
from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import budgets, every, titled
from experiments.paper.rows import label
from experiments.paper.study import Asked, Measurement, Part, Run, of_strategies
from experiments.records import read
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import mean_and_std

FRACTIONS = (0.01, 0.03, 0.05, 0.1, 0.3)
SEEDS = (0, 1, 2)
MOMENTS = (1, 5, 20)
# GLISTER's and a fresh subset's weights approximate no sum; a random subset's are n_c / k_c.
MATCHED = ("random", "craig", "craig-pb", "gradmatch", "gradmatch-per-class", "gradmatch-pb")


def measure(asked: Asked, file: Path) -> None:
    """`experiments.bench.matching_error` at the budgets and of the strategies that are missing."""
    there = {(r["variant"], r["fraction"], r["seed"]) for r in read(file)}
    fractions, seeds, strategies = wanted_of(asked)
    for fraction, seed in itertools.product(fractions, seeds):
        names = tuple(name for name in strategies if (name, fraction, seed) not in there)
        if names:
            matching_error.main(
                matching_error.MatchingError(
                    data_dir=asked.data_dir, fractions=(fraction,), variants=names,
                    seeds=(seed,), quick=asked.quick, results=file,
                )
            )  # fmt: skip


def wanted_of(asked: Asked) -> tuple[tuple[float, ...], tuple[int, ...], tuple[str, ...]]:
    """Fractions, seeds and strategies; a rehearsal has one, one and two."""
    if asked.quick:
        return (0.1,), (0,), asked.strategies or (MATCHED[0], MATCHED[3])
    return asked.fractions or FRACTIONS, asked.seeds or SEEDS, asked.strategies or MATCHED


def of_mnist(records: Sequence[Run]) -> list[Run]:
    """Those of this table: MNIST's (a rehearsal's: the digits'), one way to fill."""
    return [r for r in records if r["config"]["dataset"] in ("mnist", "digits")]


def _count(records: Sequence[Run], asked: Asked) -> tuple[int, int]:
    fractions, seeds, names = wanted_of(asked)
    wanted = set(itertools.product(names, fractions, seeds))
    there = {(r["variant"], r["fraction"], r["seed"]) for r in of_mnist(records)}
    return len(wanted & there), len(wanted)


ERRORS = Measurement(
    "matching_error", "mnist", measure, _count, hours=1.5, hardware=studies.CORE
)  # fmt: skip


def _errors(records: list[Run], measured: str) -> dict[tuple[str, float], list[float]]:
    """By strategy and budget: a seed's mean over the moments, a value a seed."""
    found: dict[tuple[str, float, int], list[float]] = {}
    for r in records:
        found.setdefault((r["variant"], r["fraction"], r["seed"]), []).append(r[measured])
    errors: dict[tuple[str, float], list[float]] = {}
    for (name, fraction, _), values in found.items():
        errors.setdefault((name, fraction), []).append(statistics.fmean(values))
    return errors


def _table8(evidence: Evidence) -> str:
    records = of_mnist(evidence.runs(ERRORS))
    paper = published.figures("table8_gradient_error_mnist", "rows")
    paper = {} if evidence.asked.quick else paper
    shares = {(name, f): value / paper["random", f] for (name, f), value in paper.items()}
    whole = _errors(records, "whole")

    def error(name: str, fraction: float) -> str | None:
        values = whole.get((name, fraction))
        return None if values is None else f"{mean_and_std(values, 4)} ({len(values)})"

    def share(name: str, fraction: float) -> str | None:
        values, random = whole.get((name, fraction)), whole.get(("random", fraction))
        if values is None or random is None:
            return None
        return f"{statistics.fmean(values) / statistics.fmean(random):.3f}"

    fractions = every((r["fraction"] for r in records), (f for _, f in paper))
    names = ("random", "craig", "craig-pb", "glister", *MATCHED[3:], *studies.FAIR, "infobatch")
    return titled(
        ("Gradient error: ours relative, the paper's absolute",
         budgets(names, fractions, error, paper, "{:.2f}")),
        ("As a share of a random subset's error at the same budget",
         budgets(names, fractions, share, shares, "{:.3f}")),
    ) + (
        "\nOurs: ‖Σ w g - Σ g‖ / ‖Σ g‖ on the full last-layer gradient, whatever the strategy "
        "matched, over the training set; mean over the gradients after 1, 5 and 20 epochs of one "
        "LeNet on a random 10 %, the same parameters for every strategy, ± over the seeds in "
        "parentheses. A random subset's weights are n_c/k_c within each class. The paper's is a "
        "norm whose scale it does not say, in each strategy's own run: only the shares compare. "
        "GLISTER's and a fresh subset's weights approximate no sum, and full training and "
        "InfoBatch's expectation have no such error: not measured.\n"
    )  # fmt: skip


TABLE8 = Exhibit(
    "table8",
    "Gradient error at selection time, MNIST",
    "GRAD-MATCHPB has the smallest error, closely followed by CRAIGPB.",
    (ERRORS,),
    _table8,
)

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
    shares: dict[tuple[str, float], list[float]] = {}
    without = 0
    for run in of_strategies(ended(evidence.runs(REDUNDANT)), names[: -len(by_design)]):
        share = run.get("never_trained")
        without += share is None
        if share is not None:
            shares.setdefault((label(run), run["fraction"]), []).append(share)

    def ours(name: str, fraction: float) -> str | None:
        if name in by_design:
            return "0 by design"
        values = shares.get((name, fraction))
        return None if values is None else f"{mean_and_std(values, 2)} ({len(values)})"

    paper = published.figures("table9_redundant_points_percent_mnist", "rows")
    fractions = every(evidence.study(REDUNDANT).fractions)
    text = budgets(names, fractions, ours, {} if evidence.asked.quick else paper, "{:.2f}")
    return text + (
        "\nTraining examples in none of a run's selections, percent; mean ± std over the runs in "
        "parentheses. 10 selections of k examples leave at least 1 - 10 k/n.\n"
        + (f"{without} records are of revisions that did not count them.\n" if without else "")
    )


TABLE9 = Exhibit(
    "table9",
    "Redundant points: never trained on, MNIST",
    "At 1 % some 90 % of MNIST is never used, at 10 % 36 %.",
    (REDUNDANT,),
    _table9,
)
