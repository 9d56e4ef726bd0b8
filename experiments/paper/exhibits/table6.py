"""Table 6: the significance of every pair."""

from collections.abc import Iterable

from experiments.paper import published, studies
from experiments.paper.exhibit import Evidence, Exhibit
from experiments.paper.significance import Tested, accuracies, matrix
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
