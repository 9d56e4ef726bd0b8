"""Tables 6 and 7: what the repetitions say, significance and spread."""

import statistics
from collections.abc import Iterable

from scipy import stats

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.exhibits.cells import budgets, every, titled
from experiments.paper.lines import accuracy_of
from experiments.paper.rows import Run, label
from experiments.paper.significance import Tested, accuracies, matrix
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import Column, markdown

SOURCES = (
    studies.MNIST, studies.MNISTNET, studies.CIFAR10, studies.CIFAR100, studies.SVHN,
    studies.CIFAR10_SMALL,
)  # fmt: skip
COMPARED = (*studies.PAPER, "gradmatch-per-class", "full-earlystop", *studies.FAIR)


def p_of(p: float) -> str:
    """Two figures, as far as they say anything: <0.0001, 0.0003, 0.031, 0.98."""
    if p < 0.0001:
        return "<0.0001"
    return f"{p:.4f}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def of_devices(tested: Iterable[Tested]) -> str:
    """How many of the cells' pairs are of two devices, in a sentence."""
    counts = sorted({found.mixed for found in tested if found.n})
    start = "The two runs of a pair are of one device where both strategies have one"
    if not counts or counts == [0]:
        return f"{start}: all are."
    said = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"{start}; of a cell's n pairs {said} are of two devices."


def _table6(evidence: Evidence) -> str:
    runs = [run for study in SOURCES for run in evidence.runs(study)]
    measured = accuracies(runs)
    tested = matrix(measured, COMPARED)
    paper = {} if evidence.asked.quick else published.p_values()

    def cell(row: str, column: str) -> str | None:
        if row == column:
            return None
        found = tested[row, column]
        if found.n == 0:
            said = "not measured"
        else:
            said = f"{'all equal' if found.p is None else p_of(found.p)} (n = {found.n})"
        beside = paper.get((row, column))
        return said + ("" if beside is None else f" [{p_of(beside)}]")

    columns: list[Column[str]] = [Column("better ↓ than →", lambda name: name)]
    columns += [Column[str](c, lambda row, c=c: cell(row, c)) for c in COMPARED]
    where = sorted({(w[0], w[1], w[2]) for values in measured.values() for w in values})
    grounds = "; ".join(f"{d}, {m}, {f:.0%}" for d, m, f in where) or "nothing yet"
    return (
        markdown(columns, COMPARED)
        + "\nOne-tailed Wilcoxon signed-rank p that the row's strategy is no better than the "
        "column's, exact, n pairs of runs of the same data set, network, fraction and seed "
        f"({grounds}); in brackets the paper's. n pairs give no p under 0.5ⁿ: "
        "0.13 for 3, 0.016 for 6, 0.002 for 9. Not corrected for the number of pairs, as the "
        "paper's are not; pairs of one data set are repetitions of one experiment, not "
        "independent ones. InfoBatch and full training have no fraction, and no pair. "
        f"{of_devices(tested.values())}\n"
    )


TABLE6 = Exhibit(
    "table6",
    "Significance of every pair (one-tailed Wilcoxon signed-rank)",
    "GRAD-MATCHPB-WARM is significantly better than every other strategy at p < 0.01.",
    SOURCES,
    _table6,
)


def deviations(runs: list[Run]) -> dict[tuple[str, float], tuple[float | None, int]]:
    """Sample standard deviation of test accuracy over seeds, and of how many runs."""
    groups: dict[tuple[str, float], dict[int, float]] = {}
    for run in ended(runs):  # of a run made on two devices the first counts
        seeds = groups.setdefault((label(run), run["fraction"]), {})
        seeds.setdefault(run["seed"], accuracy_of(run))
    return {
        key: (statistics.stdev(values.values()) if len(values) > 1 else None, len(values))
        for key, values in groups.items()
    }


def bounds(n: int, level: float = 0.95) -> tuple[float, float]:
    """Between which multiples of a sample's deviation that of its normal source lies.

    >>> [round(x, 2) for x in bounds(3)]
    [0.52, 6.28]
    """
    tail = (1 - level) / 2
    low, high = (float(stats.chi2.ppf(q, n - 1)) for q in (1 - tail, tail))
    return ((n - 1) / low) ** 0.5, ((n - 1) / high) ** 0.5


def _table7(evidence: Evidence) -> str:
    parts = []
    for study in (studies.MNIST, studies.CIFAR10, studies.CIFAR100):
        found = deviations(evidence.runs(study))
        table = "table7_std_over_5_runs"
        paper = {} if evidence.asked.quick else published.figures(table, study.dataset)
        whole = {f: paper["full", 1.0] for f in (0.05, 0.1, 0.2, 0.3) if paper}
        paper = paper | {("full", f): value for f, value in whole.items()}

        def ours(name: str, fraction: float, found=found) -> str | None:
            own = name in ("full", "infobatch")
            std, n = found.get((name, 1.0 if own else fraction), (None, 0))
            return None if n == 0 else f"{std:.3f} ({n})" if std is not None else f"– ({n})"

        fractions = every(evidence.study(study).fractions, (0.05, 0.1, 0.2, 0.3))
        names = ("full", *studies.PAPER, *studies.FAIR, "infobatch")
        parts.append((f"{study.dataset}, {study.model}",
                      budgets(names, fractions, ours, paper, "{:.3f}")))  # fmt: skip
    low, high = bounds(3)
    return titled(*parts) + (
        "\nSample standard deviation of test accuracy, in points; in parentheses the runs it is "
        "of. The paper's are of 5 runs; its table has MNIST under the budgets of CIFAR. A "
        f"deviation of 3 runs is rough: with 95 % the true one is {low:.2f} to {high:.1f} times "
        "it. Full training and InfoBatch have no budget: the same figure at each.\n"
    )


TABLE7 = Exhibit(
    "table7",
    "Standard deviation of test accuracy",
    "GRAD-MATCHPB-WARM has the smallest deviation: 0.01 on MNIST, 0.05 to 0.1 on CIFAR.",
    (studies.MNIST, studies.CIFAR10, studies.CIFAR100),
    _table7,
)
