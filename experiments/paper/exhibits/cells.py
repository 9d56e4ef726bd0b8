"""Tables with a strategy a row and a budget a column: ours, and the paper's in brackets."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from experiments.paper.exhibit import Evidence, expected, paper_of
from experiments.paper.lines import NOT_MEASURED, Paper, by_fraction
from experiments.paper.methods import methods
from experiments.paper.study import Run, Study, of_strategies
from gradmatch_jax.report.tables import Column, markdown, percent

Figures = Mapping[tuple[str, float], float]


def budgets(
    names: Sequence[str],
    fractions: Sequence[float],
    ours: Callable[[str, float], str | None],
    paper: Figures,
    form: str,
) -> str:
    """The table; the paper's figures stand in columns of their own.

    Args:
        names: the rows, strategies.
        fractions: the budgets, each two columns.
        ours: what stands in a cell; None where nothing was measured.
        paper: its figures.
        form: theirs.
    """
    columns = [Column[str]("strategy", lambda name: name)]
    for f in fractions:
        columns.append(Column(percent(f), lambda name, f=f: ours(name, f) or NOT_MEASURED))
        columns.append(Column(f"{percent(f)}, paper", lambda name, f=f: paper.get((name, f)), form))
    return markdown(columns, names)


def every(*groups: Iterable[float]) -> list[float]:
    """The fractions in any of the groups, in order; full training's aside."""
    return sorted({f for group in groups for f in group if f < 1})


def accuracy_table(
    evidence: Evidence,
    study: Study,
    source: str,
    *,
    names: Sequence[str] | None = None,
    paper: Paper | None = None,
    runs: list[Run] | None = None,
) -> str:
    """A study's accuracies and times, one row a strategy and fraction.

    Args:
        evidence: the records.
        study: whose.
        source: a sentence on where the paper's figures are from.
        names: the strategies that have rows; None for all.
        paper: its figures, where they are not the study's table's.
        runs: the records, where they are not the study's.
    """
    beside = {} if evidence.asked.quick else paper_of(study) if paper is None else paper
    rows = expected(evidence.study(study))
    runs = evidence.runs(study) if runs is None else runs
    if names is not None:
        runs = list(of_strategies(runs, names))
        rows = [row for row in rows if row[0] in names]
    return by_fraction(runs, beside, rows, source)


def short_table(evidence: Evidence, study: Study) -> str:
    """A study's accuracies, one row a method."""
    return methods(evidence.runs(study), {} if evidence.asked.quick else paper_of(study))


def titled(*parts: tuple[str, str]) -> str:
    """Tables under each other, each under its title."""
    return "\n".join(f"### {title}\n\n{text}" for title, text in parts)
