"""How a figure of the report looks, and how it becomes SVG that takes the page's font and ink."""

import io
import itertools
import math
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradmatch_jax.strategies.registry import split_name

# Readable on white and on near-black alike.
COLOURS = (
    "#d9822b", "#3b82c4", "#2a9d6f", "#b3539b", "#c0504d", "#7a6fd0", "#a08a1f", "#3a9ea8",
    "#9a6b4b", "#6f8f3a",
)  # fmt: skip
MARKERS = "osD^vPX*h<>"
# Drawn in this colour, which no series has, and then replaced by the page's own.
INK = "#010203"
FONT = 11  # units of the SVG; the page never draws one smaller than 1 px a unit
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": FONT + 1,
    "legend.frameon": False,
    "legend.fontsize": FONT,
    "lines.linewidth": 1.8,
    "xtick.minor.visible": False,
}
_HIT = 7  # units: how near the pointer has to be to a point
_TICK = 32  # units: how far apart the numbers of an axis have to be
_LINE = 14  # units from a line of text to the next


class Shape(NamedTuple):
    """What a figure is drawn for: it is drawn again for a phone, not made smaller."""

    name: str
    width: float  # inches, of 72 units each
    columns: int  # of panels, at most
    wrap: int  # letters of a line of a label


WIDE = Shape("wide", 10.2, 2, 26)
NARROW = Shape("narrow", 4.5, 1, 15)


class Value(NamedTuple):
    """What is said of a point when it is pointed at."""

    axes: Axes
    x: float
    y: float
    text: tuple[str, ...]  # its lines


class Look(NamedTuple):
    """How a strategy is drawn: a colour a family, dashed and hollow where it starts warm."""

    colour: str
    warm: bool

    @property
    def dashes(self) -> tuple:
        """The line's style."""
        return (0, (3, 1.2)) if self.warm else (0, ())

    @property
    def face(self) -> str:
        """The marker's fill."""
        return "none" if self.warm else self.colour


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each label but `full`; NAME and NAME-warm share a colour."""
    names = dict.fromkeys(split_name(label)[0] for label in labels if label != "full")
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    pairs = ((label, split_name(label)) for label in dict.fromkeys(labels) if label != "full")
    return {label: Look(colours[name], warm) for label, (name, warm) in pairs}


def log_ticks(axes: Axes, low: float, high: float, form: str) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis of x from `low` to `high`, in plain numbers.

    As many as have room, of the axes as they are now.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    unit = axes.get_window_extent().width / math.log(high / low)
    ticks: list[float] = []
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
        if all(unit * math.log(b / a) >= _TICK for a, b in itertools.pairwise(ticks)):
            break
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [form.format(tick) for tick in ticks])
    axes.minorticks_off()


def to_svg(figure: Figure, title: str, name: str, values: Sequence[Value] = ()) -> str:
    """The figure as an inline SVG element that scales with the page.

    Args:
        figure: what was drawn.
        title: what it is, for those who do not see it.
        name: what its identifiers start with; no two figures of a page may share it.
        values: what points say when they are pointed at; without a script.
    """
    figure.set_dpi(72)  # the SVG's own: places come out in its units
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg ") :].replace(INK, "currentColor")
    text = re.sub(r"<!--.*?-->|(?<=>)\s+(?=<)", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("</svg>", f"{''.join(_said(figure, value) for value in values)}</svg>")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def _said(figure: Figure, value: Value) -> str:
    """A point that shows its value under the pointer: the style sheet hides it otherwise."""
    width, height = 72 * figure.get_size_inches()
    x, up = value.axes.transData.transform((value.x, value.y))
    if not (0 <= x <= width and 0 <= up <= height):
        return ""
    y = height - up
    anchor = "start" if x < width / 3 else "end" if x > 2 * width / 3 else "middle"
    top = y - 10 - _LINE * (len(value.text) - 1)
    if top < _LINE:
        top = y + 20
    lines = "".join(
        f'<tspan x="{x:.1f}" y="{top + _LINE * i:.1f}">{escape(line)}</tspan>'
        for i, line in enumerate(value.text)
    )
    return (
        f'<g class="value"><circle cx="{x:.1f}" cy="{y:.1f}" r="{_HIT}"/>'
        f'<text text-anchor="{anchor}">{lines}</text></g>'
    )


def responsive(draw: Callable[[Shape], str]) -> str:
    """The figure for a desk and for a phone; the style sheet shows one of them."""
    return "".join(f'<div class="{shape.name}">{draw(shape)}</div>' for shape in (WIDE, NARROW))


SCHEMES = {"light": ("#1c2024", "#ffffff"), "dark": ("#e4e7ea", "#15181b")}


def standalone(svg: str, scheme: str | None = None) -> str:
    """An inline figure as a file of its own, on a ground of its own.

    scheme: light or dark; None follows the page that shows it
    """
    rules = {name: f"svg{{color:{ink};background:{ground}}}text{{stroke:{ground}}}"
             for name, (ink, ground) in SCHEMES.items()}  # fmt: skip
    dark = f"@media(prefers-color-scheme:dark){{{rules['dark']}}}"
    style = (
        "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif!important;"
        "paint-order:stroke;stroke-width:3px;stroke-linejoin:round}.value{display:none}"
        + (rules["light"] + dark if scheme is None else rules[scheme])
    )
    return re.sub(r"(<svg [^>]*>)", rf"\1<style>{style}</style>", svg, count=1) + "\n"
