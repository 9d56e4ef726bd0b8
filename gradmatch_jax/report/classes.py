"""Which classes a selection is of, and how many examples two selections share."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

NAMED = 20  # classes: of more than these the bars have no room for names
BELOW = 45  # letters: names of more, each taken as long as the longest, stand beside their bars


class Share(NamedTuple):
    """A class: how many are in the training set, how many were selected."""

    name: str
    trained: int
    selected: int


def class_shares(
    names: Sequence[str], labels: Int[np.ndarray, "n"], selected: Int[np.ndarray, "k"]
) -> tuple[Share, ...]:
    """By class, of the labels of all and of those selected.

    >>> class_shares(("a", "b"), np.array([0, 0, 1]), np.array([1]))[1]
    Share(name='b', trained=1, selected=1)
    """
    counts = (np.bincount(part, minlength=len(names)) for part in (labels, selected))
    whole = zip(names, *(part.tolist() for part in counts), strict=True)
    return tuple(Share(name, trained, chosen) for name, trained, chosen in whole)


def classes_html(shares: Sequence[Share]) -> str:
    """A bar a class, as long as its share of the selection; a mark at its share of the data.

    Upright with their names below, or along beside their names where those are long.
    """
    trained = max(sum(share.trained for share in shares), 1)
    selected = max(sum(share.selected for share in shares), 1)
    of = [(s, s.selected / selected, s.trained / trained) for s in shares]
    highest = max((max(mine, its) for _, mine, its in of), default=1.0) or 1.0
    named, letters = len(shares) <= NAMED, max((len(s.name) for s in shares), default=0)
    along = named and letters * len(shares) > BELOW
    length, place = ("width", "left") if along else ("height", "bottom")
    bars = "".join(
        f'<li title="{escape(s.name)}: {s.selected} of {selected}, {100 * mine:.3g} %; '
        f'{100 * its:.3g} % of the data">'
        f"{f'<span>{escape(s.name)}</span>' if named else ''}"
        f'<em><b style="{length}:{100 * mine / highest:.1f}%"></b>'
        f'<i style="{place}:{100 * its / highest:.1f}%"></i></em></li>'
        for s, mine, its in of
    )
    shortest, longest = (f([s.selected for s in shares], default=0) for f in (min, max))
    empty = sum(s.selected == 0 for s in shares)
    none = f", none of {empty}" if empty else ""
    kind = " along" if along else "" if named else " many"
    return (
        f'<figure class="classes"><ol class="bars{kind}">{bars}</ol><figcaption>{shortest} to '
        f"{longest} examples a class{none}; the marks are the classes' shares of the data"
        "</figcaption></figure>"
    )


def overlap_html(labels: Sequence[str], selections: Sequence[Int[np.ndarray, "_"]]) -> str:
    """A matrix: of the row's selection, the share that the column's has as well, percent.

    Columns go by the rows' numbers, so that fifteen methods fit on a phone.
    """
    names = [f"{i} {escape(label)}" for i, label in enumerate(labels, 1)]
    top = "".join(f'<th scope="col" title="{name}">{i}</th>' for i, name in enumerate(names, 1))
    sets = [np.unique(selection) for selection in selections]
    body = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(_shared(names, sets, i, j) for j in range(len(sets)))
        + "</tr>"
        for i, name in enumerate(names)
    )
    head = f'<thead><tr><th scope="col">%</th>{top}</tr></thead>'
    return f'<table class="matrix">{head}<tbody>{body}</tbody></table>'


def _shared(names: Sequence[str], sets: Sequence[Int[np.ndarray, "_"]], i: int, j: int) -> str:
    if i == j or len(sets[i]) == 0:
        return "<td>–</td>"
    share = 100 * len(np.intersect1d(sets[i], sets[j])) / len(sets[i])
    said = f"{share:.1f} % of {names[i]} is in {names[j]}"
    tint = f"color-mix(in srgb, var(--bar) {share / 2:.0f}%, transparent)"
    return f'<td title="{said}" style="background:{tint}">{share:.0f}</td>'
