"""All cases side by side: a line an arm, and how many it wins and loses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from scipy import stats

from experiments.judge.cases import REFERENCE, SEEDS
from experiments.judge.verdict import Record, Verdict, ahead, behind, mark, verdict
from experiments.paper.costs import cost_of
from gradmatch_jax.report.tables import Column

K = TypeVar("K")


class Judged(Protocol):
    """A row of a case's table."""

    @property
    def arm(self) -> str:
        """The arm's name."""
        ...

    @property
    def references(self) -> Mapping[str, Sequence[Record]]:
        """The runs of those that it is compared with."""
        ...

    @property
    def ended(self) -> list[Record]:
        """The runs that came to a figure."""
        ...


@dataclass(frozen=True)
class Line:
    """An arm on every case: its verdict against the reference, and its passes over the latter's."""

    arm: str
    verdicts: Mapping[str, Verdict]
    passes: float | None

    @property
    def whole(self) -> dict[str, Verdict]:
        """Those of all seeds, which alone are counted."""
        return {case: v for case, v in self.verdicts.items() if v.n == len(SEEDS)}


def overview(tables: Mapping[str, Sequence[Judged]]) -> tuple[list[Column[Any]], list[Line]]:
    """Columns and rows; of fewer than two cases there are none.

    Args:
        tables: every case's rows.
    """
    arms = dict.fromkeys(row.arm for rows in tables.values() for row in rows)
    lines = [_line(arm, tables) for arm in arms if arm != REFERENCE]
    sure = holm({(line.arm, case): v.p_t for line in lines for case, v in line.whole.items()})
    columns: list[Column[Any]] = [
        Column("arm", lambda line: line.arm),
        *(_cell(case) for case in tables),
        Column("ahead", lambda line: sum(map(ahead, line.whole.values()))),
        Column("ahead by Holm", lambda line: sum(arm == line.arm for arm, _ in sure)),
        Column("behind", lambda line: sum(map(behind, line.whole.values()))),
        Column("p over the sets", lambda line: over_sets(line.whole.values()), "{:.2g}"),
        Column("passes", lambda line: line.passes, "{:.1f}×"),
    ]
    return columns, lines if len(tables) > 1 else []


def holm(found: Mapping[K, float | None], alpha: float = 0.05) -> list[K]:
    """What stays significant of many tests (Holm 1979): the i-th smallest p of m below alpha/(m-i).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.02, "d": None})
    ['a', 'c', 'b']
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    ['a']
    """
    tests = sorted((p, i, name) for i, (name, p) in enumerate(found.items()) if p is not None)
    kept = []
    for i, (p, _, name) in enumerate(tests):
        if p >= alpha / (len(tests) - i):
            break
        kept.append(name)
    return kept


def over_sets(verdicts: Iterable[Verdict]) -> float | None:
    """One-tailed p of Wilcoxon's signed ranks that an arm is better on no more sets than not.

    A test an arm, where each set's own is one of many; None without a difference.
    """
    differences = [v.difference for v in verdicts if v.difference]
    if not differences:
        return None
    signed: Any = stats.wilcoxon(differences, alternative="greater", method="exact")
    return float(signed.pvalue)


def _cell(case: str) -> Column[Any]:
    def cell(line: Line) -> str | None:
        found = line.verdicts.get(case)
        if found is None or found.n == len(SEEDS):
            return found and mark(found)
        return f"{found.difference:+.2f} (n = {found.n})" if found.n else None

    return Column(case, cell)


def _line(arm: str, tables: Mapping[str, Sequence[Judged]]) -> Line:
    verdicts, ratios = {}, []
    for case, rows in tables.items():
        for row in rows:
            theirs = row.references.get(REFERENCE, [])
            if row.arm == arm and row.ended and theirs:
                verdicts[case] = verdict(row.ended, theirs)
                ratios.append(_passes(row.ended) / _passes(theirs))
    return Line(arm, verdicts, sum(ratios) / len(ratios) if ratios else None)


def _passes(records: Sequence[Record]) -> float:
    whole = [record for record in records if "failed" not in record]
    return sum(cost_of(record).forwards for record in whole) / len(whole)
