"""Table 8: how well a selection's gradient matches."""

import functools
import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.bench import matching_error
from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import budgets, every, titled
from experiments.paper.study import Asked, Measurement, Piece, Run
from experiments.records import read
from gradmatch_jax.report.tables import mean_and_std

FRACTIONS = (0.01, 0.03, 0.05, 0.1, 0.3)

SEEDS = (0, 1, 2)

MOMENTS = (1, 5, 20)

# GLISTER's and a fresh subset's weights approximate no sum; a random subset's are n_c / k_c.
MATCHED = ("random", "craig", "craig-pb", "gradmatch", "gradmatch-per-class", "gradmatch-pb")


def pieces(asked: Asked, file: Path) -> Iterator[Piece]:
    """`experiments.bench.matching_error` of what is missing: a budget and seed is a piece."""
    there = _there(read(file), asked)
    fractions, seeds, strategies, moments = wanted_of(asked)
    for fraction, seed in itertools.product(fractions, seeds):
        lacking: dict[tuple[int, ...], list[str]] = {}  # a broken-off piece has some moments
        for name in strategies:
            found = there.get((name, fraction, seed), {})
            if left := tuple(moment for moment in moments if moment not in found):
                lacking.setdefault(left, []).append(name)
        for left, names in lacking.items():
            yield functools.partial(
                matching_error.main,
                matching_error.MatchingError(
                    data_dir=asked.data_dir, fractions=(fraction,), variants=tuple(names),
                    seeds=(seed,), moments=left, quick=asked.quick, results=file,
                ),
            )  # fmt: skip


def wanted_of(
    asked: Asked,
) -> tuple[tuple[float, ...], tuple[int, ...], tuple[str, ...], tuple[int, ...]]:
    """Fractions, seeds, strategies and moments; a rehearsal has one, one, two and one."""
    if asked.quick:
        return (0.1,), (0,), asked.strategies or (MATCHED[0], MATCHED[3]), MOMENTS[:1]
    strategies = asked.strategies or MATCHED
    return asked.fractions or FRACTIONS, asked.seeds or SEEDS, strategies, MOMENTS


def _there(records: Sequence[Run], asked: Asked) -> dict[tuple[str, float, int], dict[int, Run]]:
    """This table's records, MNIST's (a rehearsal's: the digits'): a seed's by moment, each once."""
    found: dict[tuple[str, float, int], dict[int, Run]] = {}
    for r in records:
        if r["config"]["dataset"] == ("digits" if asked.quick else "mnist"):
            seen = found.setdefault((r["variant"], r["fraction"], r["seed"]), {})
            seen.setdefault(r["epoch"], r)
    return found


def _count(records: Sequence[Run], asked: Asked) -> tuple[int, int]:
    fractions, seeds, names, moments = wanted_of(asked)
    there = _there(records, asked)
    wanted = list(itertools.product(names, fractions, seeds))
    done = sum(moment in there.get(key, {}) for key in wanted for moment in moments)
    return done, len(wanted) * len(moments)


ERRORS = Measurement(
    "matching_error", "mnist", pieces, _count, hours=1.5, hardware=studies.CORE
)  # fmt: skip


def _errors(
    records: Sequence[Run], asked: Asked
) -> tuple[dict[tuple[str, float], list[float]], int]:
    """By strategy and budget: a seed's mean over the moments, a value a seed.

    Returns:
        The means of the seeds that have every moment; how many have not, and do not count.
    """
    *_, moments = wanted_of(asked)
    errors: dict[tuple[str, float], list[float]] = {}
    partial = 0
    for (name, fraction, _), seen in _there(records, asked).items():
        if all(moment in seen for moment in moments):
            mean = statistics.fmean(seen[moment]["whole"] for moment in moments)
            errors.setdefault((name, fraction), []).append(mean)
        else:
            partial += 1
    return errors, partial


def _table8(evidence: Evidence) -> str:
    whole, partial = _errors(evidence.runs(ERRORS), evidence.asked)
    paper = published.figures("table8_gradient_error_mnist", "rows")
    paper = {} if evidence.asked.quick else paper
    shares = {(name, f): value / paper["random", f] for (name, f), value in paper.items()}

    def error(name: str, fraction: float) -> str | None:
        values = whole.get((name, fraction))
        return None if values is None else f"{mean_and_std(values, 4)} ({len(values)})"

    def share(name: str, fraction: float) -> str | None:
        values, random = whole.get((name, fraction)), whole.get(("random", fraction))
        if values is None or random is None:
            return None
        return f"{statistics.fmean(values) / statistics.fmean(random):.3f}"

    fractions = every((f for _, f in whole), (f for _, f in paper))
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
        + (f"Seeds of a cell that lack a moment, and do not count: {partial}.\n" if partial else "")
    )  # fmt: skip


TABLE8 = Exhibit(
    "table8",
    "Gradient error at selection time, MNIST",
    "GRAD-MATCHPB has the smallest error, closely followed by CRAIGPB.",
    (ERRORS,),
    _table8,
)
