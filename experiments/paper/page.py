"""Every table and figure on one page that needs nothing but itself."""

import re
from collections.abc import Iterable, Iterator
from html import escape

from experiments.paper.exhibit import Evidence, Exhibit, stand
from experiments.paper.exhibits import IN_ORDER
from experiments.paper.study import Asked, Study
from gradmatch_jax.report.drawing import Shape, to_svg
from gradmatch_jax.report.page import document, figure_html, section
from gradmatch_jax.report.summary import ended
from gradmatch_jax.report.tables import html_row

TITLE = "GRAD-MATCH's tables and figures, ours beside the paper's"
LONG = 110  # cells: larger tables are folded
BROAD = 11  # columns: of more, every row is a card on a desk too
_LEAD = (
    "Every table and figure of the paper, made of the records in <code>results/</code>. The "
    "paper's figures stand beside ours; what has not been measured says so. Ours are means ± "
    "sample standard deviations over the runs that are counted beside them; a difference inside "
    "them is none. adaptive-random (a fresh random subset every epoch), full-earlystop-fitted "
    "(plain training, its schedule shortened to the same number of examples) and infobatch, which "
    "the paper does not have, stand wherever ways to train are compared."
)


def page(asked: Asked, exhibits: Iterable[Exhibit] = IN_ORDER) -> str:
    """The page; the same records give the same bytes."""
    evidence, shown = Evidence(asked), list(exhibits)
    head = f'<header><h1>{TITLE}</h1><p class="lead">{_LEAD}</p>{_facts(evidence, shown)}</header>'
    sections = [_exhibit(exhibit, evidence) for exhibit in shown]
    return document(TITLE, [head, section("What there is", _contents(shown, asked)), *sections])


def _facts(evidence: Evidence, exhibits: list[Exhibit]) -> str:
    """What the records are of."""
    sources = {s.name: s for e in exhibits for s in e.sources if isinstance(s, Study)}
    runs = [run for source in sources.values() for run in ended(evidence.runs(source))]
    facts = {
        "Runs": f"{len(runs):,}",
        "Data sets": ", ".join(sorted({run["dataset"] for run in runs})) or "none yet",
        "Networks": ", ".join(sorted({run["model"] for run in runs})) or "none yet",
        "Seeds": ", ".join(map(str, sorted({run["seed"] for run in runs}))) or "none yet",
        "Hardware": ", ".join(sorted({run["device"] for run in runs})) or "none yet",
        "Revisions": ", ".join(sorted({run["revision"] for run in runs})) or "none yet",
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def _contents(exhibits: list[Exhibit], asked: Asked) -> str:
    rows = []
    for exhibit in exhibits:
        state = stand(exhibit.states(asked))
        rows.append(
            f'<tr><th scope="row"><a href="#{exhibit.name}">{_number(exhibit)}</a></th>'
            f'<td class="text">{escape(exhibit.title)}</td><td class="text">{escape(str(state))}'
            "</td></tr>"
        )
    head = "".join(f'<th scope="col" class="text">{text}</th>' for text in ("", "what", "state"))
    return (
        f'<div class="wide-table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _number(exhibit: Exhibit) -> str:
    """Table 3, Figure 4 e, or a name of ours."""
    found = re.fullmatch(r"(table|figure)(\d+)([a-g]?)", exhibit.name)
    if found is None:
        return exhibit.name
    kind, number, letter = found.groups()
    return f"{kind.capitalize()} {number} {letter}".strip()


def _exhibit(exhibit: Exhibit, evidence: Evidence) -> str:
    state = stand(exhibit.states(evidence.asked))
    command = f"python -m experiments.paper run {exhibit.name}"
    left = "" if state.done == state.runs else f" The rest: <code>{command}</code>."
    parts = [
        f"<p>The paper: {escape(exhibit.says)}</p>",
        f'<p class="note">State: {escape(str(state))}.{left}</p>',
    ]
    if (figure := exhibit.figure) is not None:

        def drawn(shape: Shape) -> str:
            name = f"{exhibit.name}-{shape.name}"
            return to_svg(figure(evidence, shape), exhibit.title, name)

        parts.append(figure_html(drawn, exhibit.caption))
    if exhibit.short is not None:
        parts += blocks(exhibit.short(evidence))
    parts += blocks(exhibit.table(evidence))
    return section(f"{_number(exhibit)}: {exhibit.title}", "".join(parts), exhibit.name)


def blocks(markdown: str) -> Iterator[str]:
    """The Markdown of a table as HTML: its headings, tables and paragraphs, nothing else.

    >>> text = "### One & two\\n\\n| a | b |\\n| --- | ---: |\\n| 1 | <2 |\\n\\nA note.\\n"
    >>> list(blocks(text))[::2]
    ['<h3>One &amp; two</h3>', '<p class="note">A note.</p>']
    """
    for block in re.split(r"\n\s*\n|\n(?=\|)(?<!\|\n)", markdown.strip()):
        lines = block.strip().splitlines()
        if not lines:
            continue
        if lines[0].startswith("### "):
            yield f"<h3>{escape(lines[0][4:])}</h3>"
            lines = lines[1:]
        table = [line for line in lines if line.startswith("|")]
        if len(table) > 2:
            yield _table([_cells(line) for line in table])
        yield from (
            f'<p class="note">{escape(line)}</p>' for line in lines if not line.startswith("|")
        )


def _cells(line: str) -> list[str]:
    return [escape(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _table(rows: list[list[str]]) -> str:
    head, _, *body = rows
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(html_row(head, cells) for cells in body)
    kind = "wide-table cards" if len(head) > BROAD else "wide-table"
    table = (
        f'<div class="{kind}"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )
    if len(body) * len(head) <= LONG:
        return table
    return f"<details><summary>the table, {len(body)} rows</summary>{table}</details>"
