"""Names written beside what they name, so that no legend has to be looked up."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from gradmatch_jax.report.drawing import FONT, INK

LINE = FONT + 3.5  # units from a line of text to the next
_LETTER = 0.56 * FONT  # units a letter takes, of the page's fonts and a little more


Box = tuple[float, float, float, float]


class Label(NamedTuple):
    """A name, and the point it is of, in the axes' data."""

    text: str
    x: float
    y: float
    colour: str


def wrapped(text: str, letters: int) -> str:
    """A long name on several lines, broken at its hyphens.

    >>> wrapped("gradmatch-per-class-warm", 15).split()
    ['gradmatch-per-', 'class-warm']
    """
    return "\n".join(textwrap.wrap(text, letters, break_long_words=False)) or text


def width_of(texts: Sequence[str]) -> float:
    """Units that the longest line of the texts takes."""
    return max((_LETTER * len(line) for text in texts for line in text.splitlines()), default=0)


def height_of(text: str) -> float:
    """Units that the lines of a text take."""
    return LINE * len(text.splitlines())


def apart(
    wanted: Float[np.ndarray, "n"], heights: Float[np.ndarray, "n"], low: float, high: float
) -> Float[np.ndarray, "n"]:
    """Places as near to those wanted as can be, in squares, of things that high, none on another.

    Between neighbours at least half of both heights: with these gaps taken off, the places are an
    isotonic regression.

    >>> apart(np.array([5.0, 5.0, 40.0]), np.full(3, 10.0), 0.0, 100.0)
    array([ 5., 15., 40.])
    """
    if len(wanted) == 0:
        return wanted
    order = np.argsort(wanted, kind="stable")
    tall = heights[order]
    shift = np.concatenate([[0.0], np.cumsum((tall[1:] + tall[:-1]) / 2)])
    fitted = np.asarray(isotonic_regression(wanted[order] - shift).x)
    bottom, top = low + tall[0] / 2, high - tall[-1] / 2 - shift[-1]
    placed = np.empty_like(wanted)
    placed[order] = np.clip(fitted, bottom, max(bottom, top)) + shift
    return placed


def at_the_end(axes: Axes, labels: Sequence[Label]) -> None:
    """Right of the axes, each as high as its line ends, or as near as the others let it."""
    box = axes.get_window_extent()
    ends = axes.transData.transform(np.array([(label.x, label.y) for label in labels]))
    heights = np.array([height_of(label.text) for label in labels])
    places = apart(ends[:, 1].clip(box.y0, box.y1), heights, box.y0 - LINE, box.y1 + LINE)
    for label, end, place in zip(labels, ends, places, strict=True):
        if box.contains(*end):
            _line(axes, label, (float(end[0]), float(end[1])), (box.x1 + 8, float(place)))
        _text(axes, label.text, (box.x1 + 11, float(place)), "left")


def beside(axes: Axes, labels: Sequence[Label], written: Sequence[Box] = ()) -> None:
    """Each near its point, where neither another label, a point nor what is written is in the way.

    written: boxes of the figure, as (left, bottom, right, top) in its units.
    """
    box = axes.get_window_extent()
    points = axes.transData.transform(np.array([(label.x, label.y) for label in labels]))
    taken = [*written, *((x - 6, y - 6, x + 6, y + 6) for x, y in points)]
    for label, point in sorted(zip(labels, points, strict=True), key=lambda pair: -pair[1][1]):
        wide, tall = width_of([label.text]), height_of(label.text)
        place = _free(point, wide, tall, taken, (box.x0, box.y0, box.x1, box.y1))
        taken.append(place)
        middle = (place[1] + place[3]) / 2
        left, right = place[0] > point[0], place[2] < point[0]
        if np.hypot(*(np.clip(point, place[:2], place[2:]) - point)) > 12:
            edge = place[0] - 1 if left else place[2] + 1 if right else (place[0] + place[2]) / 2
            near = middle if left or right else place[1] if middle > point[1] else place[3]
            _line(axes, label, (float(point[0]), float(point[1])), (float(edge), float(near)))
        side = "left" if left else "right" if right else "center"
        x = {"left": place[0], "right": place[2], "center": (place[0] + place[2]) / 2}[side]
        _text(axes, label.text, (float(x), float(middle)), side)


def _free(
    point: Float[np.ndarray, "2"], wide: float, tall: float, taken: Sequence[Box], frame: Box
) -> Box:
    """The nearest place that overlaps nothing; the one that overlaps least where there is none."""
    best, least = (0.0, 0.0, 0.0, 0.0), np.inf
    for away in (9, 20, 34, 50, 70, 95, 125):
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            x = point[0] + across * (away if up == 0 else 9) + (across - 1) * wide / 2
            y = point[1] + up * (away + (tall / 2 - 7 if up else 0)) - tall / 2
            place = (float(x), float(y), float(x + wide), float(y + tall))
            cost = sum(_overlap(place, other) for other in taken) + 4 * _outside(place, frame)
            if cost < least:
                best, least = place, cost
            if cost == 0:
                return place
    return best


def _overlap(a: Box, b: Box) -> float:
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def _outside(place: Box, frame: Box) -> float:
    area = (place[2] - place[0]) * (place[3] - place[1])
    return max(area - _overlap(place, frame), 0.0)


def _line(axes: Axes, label: Label, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start, xycoords="figure pixels", textcoords="figure pixels", annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.9, "alpha": 0.8,
                    "shrinkA": 2, "shrinkB": 0},
    )  # fmt: skip


def _text(axes: Axes, text: str, place: tuple[float, float], side: str) -> None:
    axes.annotate(
        text, place, xycoords="figure pixels", ha=side, va="center", color=INK, fontsize=FONT,
        linespacing=1.15, annotation_clip=False,
    )  # fmt: skip
