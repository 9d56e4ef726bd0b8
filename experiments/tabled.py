"""What studies with a table a case share: a row's runs and costs, the tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.judge.verdict import Record
from experiments.paper.costs import cost_of
from gradmatch_jax.report.summary import seconds_of
from gradmatch_jax.report.tables import Column, markdown, mean_and_std


@dataclass(frozen=True)
class Runs:
    """The records of a row."""

    runs: list[Record]

    @property
    def ended(self) -> list[Record]:
        """The runs that came to a figure."""
        return [record for record in self.runs if "failed" not in record]

    def mean(self, value: Callable[[Record], float]) -> float | None:
        """The mean of a figure over the runs that ended."""
        return sum(map(value, self.ended)) / len(self.ended) if self.ended else None

    def accuracy(self, digits: int) -> str | None:
        """Mean and deviation of the test accuracy, or that no run came to one."""
        accuracies = [record["test_accuracy"] for record in self.ended]
        return mean_and_std(accuracies, digits) if accuracies else "diverged" if self.runs else None


NOTHING = "Not measured.\n"
COSTS: list[Column[Any]] = [
    Column("examples", lambda row: row.mean(lambda r: cost_of(r).examples), "{:,.0f}"),
    Column("forward passes", lambda row: row.mean(lambda r: cost_of(r).forwards), "{:,.0f}"),
    Column("seconds", lambda row: row.mean(seconds_of), "{:,.0f}"),
]


def write_tables(
    tables: Iterable[tuple[str, list[Column[Any]], list[Any]]], out: Path | None
) -> None:
    """Tables, printed, or to a Markdown file.

    Args:
        tables: of each the heading, the columns and the rows.
        out: None prints.
    """
    text = "\n".join(
        f"## {name}\n\n{markdown(columns, rows) if rows else NOTHING}"
        for name, columns, rows in tables
    )
    if out is None:
        print(text, end="")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
