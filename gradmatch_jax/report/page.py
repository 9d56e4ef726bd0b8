"""The page: HTML around the figures and the galleries."""

import re
from collections.abc import Callable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gradmatch_jax.report.classes import overlap_html
from gradmatch_jax.report.columns import COMPARISON
from gradmatch_jax.report.drawing import Shape, responsive
from gradmatch_jax.report.figures import convergence, scatter
from gradmatch_jax.report.gallery import Gallery, gallery_html
from gradmatch_jax.report.summary import (
    About,
    Row,
    devices,
    ended,
    footnote,
    label_of,
    lead,
    notes,
    seconds_of,
    summarise,
)  # fmt: skip
from gradmatch_jax.report.tables import NOTHING, html, html_row, in_time, percent


def page(
    runs: Sequence[dict[str, Any]], galleries: Sequence[Gallery] = (), about: About | None = None
) -> str:
    """The whole report of the runs, as `compare` returns them, in one HTML document.

    Nothing is loaded from anywhere; links lead to the runs' folders, which stand beside it.

    Raises:
        UserError: there are no runs of `full` to compare with.
    """
    table = summarise(runs)
    dataset = escape(str(runs[0]["dataset"]))
    title = f"Training on a part of {dataset}"
    facts = _facts(runs, table, about or About())
    sections = [
        f"<header><h1>{title}</h1>{_lead(table)}{facts}</header>",
        section("Results", _results(runs, table)),
    ]
    drawn = [row for row in table if row.n]
    if drawn and drawn[0].label == "full" and len(drawn) > 1:
        sections += [
            section(
                "Accuracy against speed-up",
                figure_html(
                    lambda shape: scatter(drawn, shape),
                    "Higher and further right is better. Hollow markers are warm starts; bars are "
                    "one standard deviation over seeds, of accuracy and of time. The axis shows "
                    "the contenders: a method far below them stands at the lower edge, with its "
                    "figure.",
                ),
            ),
            section(
                "Convergence",
                figure_html(
                    lambda shape: convergence(ended(runs), shape),
                    "Means over seeds at the epochs that were tested; beside each curve its last "
                    "value. Dashed lines are warm starts: their first epochs are on all the data. "
                    "The axis leaves out the lowest beginnings, and what ends far below (↓).",
                ),
            ),
        ]
    if galleries:
        sections.append(section("What was selected", _galleries(galleries)))
    sections.append(section("The runs", _runs(runs)))
    note = resources.files("gradmatch_jax.report") / "note.html"
    sections.append(section("What the numbers mean", note.read_text(encoding="utf-8")))
    return document(title, sections)


def document(title: str, sections: Sequence[str]) -> str:
    """A page that needs nothing but itself, of sections in HTML."""
    style = (resources.files("gradmatch_jax.report") / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, body: str, name: str = "") -> str:
    """A heading and what is under it; `name` is what links call it."""
    known = f' id="{name}"' if name else ""
    return f"<section{known}><h2>{escape(title)}</h2>{body}</section>"


def figure_html(draw: Callable[[Shape], str], caption: str) -> str:
    """A figure in every shape and its caption."""
    said = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure class="plot">{responsive(draw)}{said}</figure>'


def _lead(table: Sequence[Row]) -> str:
    lines = (re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(line)) for line in lead(table))
    return "".join(f'<p class="lead">{line}</p>' for line in lines)


def _facts(runs: Sequence[dict[str, Any]], table: Sequence[Row], about: About) -> str:
    whole = ended(runs)
    # Full's, where it has a result: then what it trained on and for how long is the plan's.
    first = min(whole or runs, key=lambda run: run["strategy"] != "full")
    versions = "; ".join(
        dict.fromkeys(", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in whole)
    )
    fractions = sorted({row.fraction for row in table[1:]})
    facts = {
        "Data": first["dataset"]
        + (f", {first['train_size']:,} training examples" if whole else ""),
        "Model": first["model"],
        "Training": (f"T = {first['epochs']} epochs, " if whole else "")
        + f"mini-batches of {first['batch_size']}",
        "Compared": f"{len({row.label for row in table[1:]})} strategies at "
        + " and ".join(percent(f) for f in fractions),
        "Seeds": ", ".join(map(str, dict.fromkeys(run["seed"] for run in runs))),
        "Time": _times(runs, about),
        "Device": "; ".join(devices(runs)),
        "Versions": versions,
    }
    if not fractions:
        del facts["Compared"]
    rows = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v)
    if about.command:
        words = " ".join(f"<span>{escape(word)}</span>" for word in about.command.split())
        rows += f"<dt>Command</dt><dd><code>{words}</code></dd>"
    return f'<dl class="facts">{rows}</dl>'


def _times(runs: Sequence[dict[str, Any]], about: About) -> str:
    """What all the runs took, and what of it the table counts."""
    whole = ended(runs)
    counted, compiled = (
        in_time(sum(map(value, whole)))
        for value in (seconds_of, lambda run: run["compile_seconds"])
    )
    of = f"{len(runs)} runs: {counted} of training and selection, {compiled} of compiling"
    if about.wall_seconds is None:
        return of
    return f"{in_time(about.wall_seconds)} in all for {of}; the rest is loading and testing"


def _results(runs: Sequence[dict[str, Any]], table: Sequence[Row]) -> str:
    said = "".join(f'<p class="failed">{escape(note)}</p>' for note in notes(table))
    counted = f'<p class="note">{escape(footnote(runs))}</p>'
    whole = html(COMPARISON, table, apart=lambda row: row.fraction)
    return f'<div class="wide-table">{whole}</div>{said}{counted}'


def _galleries(galleries: Sequence[Gallery]) -> str:
    """The smallest fraction open, the others folded; the methods that choose first."""
    fractions = sorted({gallery.fraction for gallery in galleries})
    known = sorted(enumerate(galleries), key=lambda item: not item[1].chooses)
    parts = [
        f"<p>The last selection of the runs with seed {galleries[0].seed}, the methods that look "
        "at the data first. Beside an example: its class, and the weight it carries (1 is the "
        "mean).</p>"
    ]
    for fraction in fractions:
        mine = [(i, gallery) for i, gallery in known if gallery.fraction == fraction]
        shown, drawn = (
            "".join(
                gallery_html(gallery, f"weights{i}")
                for i, gallery in mine
                if gallery.chooses == chooses
            )
            for chooses in (True, False)
        )
        random = f"<details><summary>random draws</summary>{drawn}</details>" if shown else drawn
        opened = " open" if fraction == fractions[0] else ""
        summary = f"<summary>{percent(fraction)} of the data</summary>"
        both = _overlap([gallery for _, gallery in mine], fraction)
        parts.append(f"<details{opened}>{summary}{both}{shown}{random if drawn else ''}</details>")
    return "".join(parts)


def _overlap(galleries: Sequence[Gallery], fraction: float) -> str:
    """How far the methods agree, where there are several."""
    if len(galleries) < 2:
        return ""
    table = overlap_html([g.label for g in galleries], [g.indices for g in galleries])
    return (
        "<h4>Do they choose the same?</h4><p>Of the examples that the method at the left selected, "
        "the share, in percent, that the method of the column's number has as well; by chance it "
        f"would be {percent(fraction)}.</p>{table}"
    )


def _runs(runs: Sequence[dict[str, Any]]) -> str:
    """Every run with a link to its folder, folded."""
    heads = ["run", "seed", "test accuracy, %", "train + select, s", "compile, s", "state"]
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(html_row(heads, _run_cells(run)) for run in runs)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return (
        f"<details><summary>{len(runs)} runs, each with its settings, its log and what it selected"
        f'</summary><div class="wide-table">{table}</div></details>'
    )


def _run_cells(run: dict[str, Any]) -> list[str]:
    label = f"{label_of(run['strategy'], run['warm'])}, {percent(run['fraction'])}"
    folder = Path(run.get("folder", "")).name
    name = f'<a href="{quote(folder)}/">{escape(label)}</a>' if folder else escape(label)
    if "failed" in run:
        return [name, str(run["seed"]), NOTHING, NOTHING, NOTHING, run["failed"]["kind"]]
    figures = (
        f"{run['test_accuracy']:.2f}",
        f"{seconds_of(run):.2f}",
        f"{run['compile_seconds']:.1f}",
    )
    return [name, str(run["seed"]), *figures, "whole"]
