"""Tables for the console, Markdown and HTML, all made of the same columns."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

R = TypeVar("R")
NOTHING = "–"


@dataclass(frozen=True)
class Column(Generic[R]):
    """What stands in a table's column: heading, value and format, said once.

    Example:
        >>> seconds = Column("seconds", lambda run: run["seconds"], "{:.1f}")
        >>> seconds.cell({"seconds": 2.04}), seconds.cell({"seconds": None})
        ('2.0', '–')
    """

    heading: str
    value: Callable[[R], Any]
    """Of a row; None where it has none."""
    form: str | Callable[[Any], str] = "{}"
    """A format, or a function, of a value that is not None."""
    narrow: str | None = None
    """The heading where there are 80 columns for the table; None leaves the column out there,
    unless no column has one."""

    def cell(self, row: R) -> str:
        """The value as text."""
        value = self.value(row)
        if value is None:
            return NOTHING
        return self.form.format(value) if isinstance(self.form, str) else self.form(value)


def filled(columns: Iterable[Column[R]], rows: Sequence[R]) -> list[Column[R]]:
    """The columns in which some row has a value."""
    return [c for c in columns if not rows or any(c.value(row) is not None for row in rows)]


def pipes(lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table of a heading and rows, the first column to the left."""
    head, *rows = lines
    rule = ("---", *["---:"] * (len(head) - 1))
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


def markdown(columns: Sequence[Column[R]], rows: Iterable[R]) -> str:
    """The rows as a Markdown table.

    Example:
        >>> print(markdown([Column("k", lambda row: row), Column("k²", lambda row: row**2)], [3]))
        | k | k² |
        | --- | ---: |
        | 3 | 9 |
        <BLANKLINE>
    """
    return pipes([[c.heading for c in columns], *([c.cell(row) for c in columns] for row in rows)])


def html(
    columns: Sequence[Column[R]], rows: Iterable[R], apart: Callable[[R], Any] = lambda row: None
) -> str:
    """The rows as an HTML table; a line where `apart` of a row is another than the last one's."""
    # A unit stays with its quantity, and "speed-up" in one piece.
    kept = (escape(c.heading).replace(", ", ",&nbsp;").replace("-", "&#8209;") for c in columns)
    head = "".join(f'<th scope="col">{text}</th>' for text in kept)
    headings = [escape(c.heading) for c in columns]
    body, previous = [], None
    for i, row in enumerate(rows):
        cells = [escape(c.cell(row)).replace(" %", "&nbsp;%") for c in columns]
        body.append(html_row(headings, cells, apart=bool(i) and apart(row) != previous))
        previous = apart(row)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def html_row(headings: Sequence[str], cells: Sequence[str], *, apart: bool = False) -> str:
    """A row whose cells know their heading, which a phone shows beside them: a row is a card there.

    headings, cells: in HTML; a cell without a value is left out of a card
    """
    first, *rest = cells
    data = "".join(
        f'<td data-label="{heading}"{_none(cell)}>{cell}</td>'
        for heading, cell in zip(headings[1:], rest, strict=True)
    )
    mark = ' class="apart"' if apart else ""
    return f'<tr{mark}><th scope="row">{first}</th>{data}</tr>'


def _none(cell: str) -> str:
    return ' class="none"' if cell == NOTHING else ""


def rich_table(
    columns: Sequence[Column[R]],
    rows: Iterable[R],
    *,
    title: str | None = None,
    apart: Callable[[R], Any] = lambda row: None,
) -> "Table":
    """The rows for the console, in the columns that have a narrow heading, or in all of them."""
    from rich.box import SIMPLE
    from rich.table import Table

    shown = [c for c in columns if c.narrow is not None] or list(columns)
    result = Table(title=title, header_style="bold", box=SIMPLE, padding=(0, 1, 0, 0))
    for i, column in enumerate(shown):
        heading = column.heading if column.narrow is None else column.narrow
        result.add_column(heading, justify="left" if i == 0 else "right", no_wrap=True)
    previous = None
    for i, row in enumerate(rows):
        if i and apart(row) != previous:
            result.add_section()
        previous = apart(row)
        result.add_row(*(c.cell(row) for c in shown))
    return result


def percent(fraction: float) -> str:
    """0.05 as "5 %"."""
    return f"{100 * fraction:.6g} %"


def mean_and_std(values: Sequence[float], digits: int) -> str:
    """Mean ± sample standard deviation, which one value does not have.

    >>> mean_and_std([1.0, 3.0], 2), mean_and_std([1.0], 2)
    ('2.00 ± 1.41', '1.00')
    """
    spread = statistics.stdev(values) if len(values) > 1 else None
    return spread_out(statistics.fmean(values), spread, digits)


def spread_out(mean: float, std: float | None, digits: int) -> str:
    """A mean with its deviation, where it has one."""
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def in_time(seconds: float) -> str:
    """Seconds as people say them.

    >>> [in_time(s) for s in (8.2, 95, 7300)]
    ['8 s', '1 min 35 s', '2 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
