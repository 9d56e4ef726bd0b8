"""The page: HTML around the figures and the galleries."""

import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from gradmatch_jax.report.columns import COMPARISON
from gradmatch_jax.report.figures import convergence, scatter
from gradmatch_jax.report.gallery import Gallery, gallery_html
from gradmatch_jax.report.summary import Row, devices, ended, footnote, lead, notes, summarise
from gradmatch_jax.report.tables import html, percent

_NOTE = """
<dl>
<dt>What is compared</dt>
<dd>Each strategy chooses a weighted subset of the training set, and SGD trains on that subset
alone. A warm strategy first trains on all the data for a share of its time. <b>full</b> trains on
everything and is the yardstick. Each run is repeated for every seed, which sets the initial
weights, the order of the examples, the random draws and, where the data set brings no validation
split, which examples are held out.</dd>
<dt>Accuracy and drop</dt>
<dd>Top-1 accuracy on the test set after the last epoch, never the best epoch; the spread is the
sample standard deviation over seeds. The drop is full's mean minus the strategy's, in percentage
points: a negative drop is a gain. A drop smaller than the spreads says little.</dd>
<dt>Time</dt>
<dd>Wall-clock seconds of training and of selecting. Compiling is reported in its own column and is
in no other number; testing, loading and checkpoints are not counted. The clock is the
machine's: other work on it shows up in the times.</dd>
<dt>Speed-up and its ceiling</dt>
<dd>The speed-up is full's seconds over the strategy's. Training on a fraction f of the data cannot
be more than 1/f times as fast; training a network only to score the examples counts too.
Selecting costs time, and each step and each call has a fixed cost that does not shrink with the
data: the smaller the problem, the further below.</dd>
<dt>Matching error</dt>
<dd>How far the weighted sum of the selected gradients is from the target, relative to the target's
norm, at the last selection. Each strategy is measured in the gradients that it matches itself, so
it compares fractions of one strategy rather than different ones.</dd>
<dt>Weights</dt>
<dd>Scaled to mean 1 over the selection, as SGD uses them: an example of weight 3 counts as three
average ones.</dd>
</dl>
"""


def page(runs: Sequence[dict[str, Any]], galleries: Sequence[Gallery] = ()) -> str:
    """The whole report of the runs, as `compare` returns them, in one HTML document.

    Raises:
        UserError: there are no runs of `full` to compare with.
    """
    table = summarise(runs)
    dataset = escape(str(runs[0]["dataset"]))
    title = f"Training on a part of {dataset}"
    sections = [
        f"<header><h1>{title}</h1>{_lead(table)}{_facts(runs, table)}</header>",
        section("Results", _results(runs, table)),
    ]
    drawn = [row for row in table if row.n]
    if drawn and drawn[0].label == "full" and len(drawn) > 1:
        sections += [
            section(
                "Accuracy against speed-up",
                figure_html(
                    scatter(drawn),
                    "Higher and further right is better. Hollow markers are warm starts; bars are "
                    "one standard deviation over seeds; the horizontal line is full training, the "
                    "dotted ones the ceiling 1/fraction.",
                ),
            ),
            section(
                "Convergence",
                figure_html(
                    convergence(ended(runs)),
                    "Means over seeds at the epochs that were tested. Dashed lines are warm "
                    "starts: their first epochs are on all the data. The accuracy axis leaves out "
                    "the lowest beginnings.",
                ),
            ),
        ]
    if galleries:
        sections.append(section("What was selected", _galleries(galleries)))
    sections.append(section("What the numbers mean", _NOTE))
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


def figure_html(svg: str, caption: str) -> str:
    """A figure and its caption."""
    return f'<figure class="plot">{svg}<figcaption>{escape(caption)}</figcaption></figure>'


def _lead(table: Sequence[Row]) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(" ".join(lead(table))))
    return f'<p class="lead">{text}</p>'


def _facts(runs: Sequence[dict[str, Any]], table: Sequence[Row]) -> str:
    whole = ended(runs)
    # Full's, where it has a result: then what it trained on and for how long is the plan's.
    first = min(whole or runs, key=lambda run: run["strategy"] != "full")
    versions = "; ".join(
        dict.fromkeys(", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in whole)
    )
    seeds = list(dict.fromkeys(run["seed"] for run in runs))
    facts = {
        "Data": first["dataset"]
        + (f", {first['train_size']:,} training examples" if whole else ""),
        "Model": first["model"],
        "Training": (f"T = {first['epochs']} epochs, " if whole else "")
        + f"mini-batches of {first['batch_size']}",
        "Compared": f"{len({row.label for row in table[1:]})} strategies at "
        + " and ".join(percent(f) for f in sorted({row.fraction for row in table[1:]})),
        "Seeds": ", ".join(map(str, seeds)),
        "Device": "; ".join(devices(runs)),
        "Versions": versions,
    }
    if len(table) == 1:
        del facts["Compared"]
    rows = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def _results(runs: Sequence[dict[str, Any]], table: Sequence[Row]) -> str:
    said = "".join(f'<p class="failed">{escape(note)}</p>' for note in notes(table))
    counted = f'<p class="note">{escape(footnote(runs))}</p>'
    whole = html(COMPARISON, table, apart=lambda row: row.fraction)
    return f'<div class="wide">{whole}</div>{said}{counted}'


def _galleries(galleries: Sequence[Gallery]) -> str:
    """The smallest fraction open, the others folded."""
    fractions = sorted({gallery.fraction for gallery in galleries})
    parts = [
        f"<p>The last selection of the runs with seed {galleries[0].seed}. Under each picture: its "
        "class, and the weight it carries (1 is the mean).</p>"
    ]
    for fraction in fractions:
        articles = "".join(
            gallery_html(gallery, f"weights{i}")
            for i, gallery in enumerate(galleries)
            if gallery.fraction == fraction
        )
        opened = " open" if fraction == fractions[0] else ""
        summary = f"<summary>{percent(fraction)} of the data</summary>"
        parts.append(f"<details{opened}>{summary}{articles}</details>")
    return "".join(parts)
