"""What a strategy selected: its heaviest examples, and how weight is spread.

Here alone it is known what an input looks like: uint8 (n, h, w, c) are pictures, token ids are
words, and rows of numbers are not shown.
"""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from gradmatch_jax.data import Split
from gradmatch_jax.data.words import decode
from gradmatch_jax.report.classes import Share, class_shares, classes_html
from gradmatch_jax.report.figures import histogram
from gradmatch_jax.strategies.registry import STRATEGIES, split_name

SHOWN = 40  # of each selection on the page
PICTURES = 12  # of these seen at once
TEXTS = 4
_MAX_SIDE = 64  # pixels of a picture on the page: larger ones are thinned out


class Gallery(NamedTuple):
    """One selection, as the page shows it. Weights are scaled to mean 1, as SGD uses them."""

    label: str
    fraction: float
    seed: int
    images: UInt8[np.ndarray, "m h w c"]  # the heaviest, heaviest first; none if no pictures
    classes: tuple[str, ...]  # of the heaviest
    weights: Float[np.ndarray, "k"]  # of the whole selection, heaviest first
    indices: Int[np.ndarray, "k"]  # of the whole selection, in the training split
    shares: tuple[Share, ...]  # a class each
    texts: tuple[str, ...] = ()  # the heaviest, where they are texts

    @property
    def chooses(self) -> bool:
        """Whether the method looks at the data; a random draw does not."""
        entry = STRATEGIES.get(split_name(self.label)[0])
        return entry is None or entry.reads


def pick(
    label: str,
    fraction: float,
    seed: int,
    train: Split,
    class_names: Sequence[str],
    indices: Int[np.ndarray, "k"],
    weights: Float[np.ndarray, "k"],
    *,
    vocabulary: Sequence[str] = (),
    shown: int = SHOWN,
) -> Gallery:
    """The `shown` examples of largest weight; among equals, those selected first.

    vocabulary: the data set's, by which token ids become words
    """
    order = np.argsort(-weights, kind="stable")
    top = indices[order[:shown]]
    mean = float(weights.mean()) if len(weights) else 0.0
    scaled = weights[order] / mean if mean > 0 else weights[order]
    classes = tuple(class_names[int(c)] for c in train.labels[top])
    rows = train.take(top)
    texts = tuple(decode(row, vocabulary) for row in rows) if vocabulary else ()
    shares = class_shares(class_names, train.labels, train.labels[indices])
    return Gallery(label, fraction, seed, _pictures(rows), classes, scaled, indices, shares, texts)


def _pictures(rows: Shaped[np.ndarray, "m ..."]) -> UInt8[np.ndarray, "m2 h w c"]:
    """The rows themselves where they are pictures, made small; none otherwise."""
    if rows.dtype == np.uint8 and rows.ndim == 4 and rows.shape[-1] in (1, 3, 4):
        return _thin(rows)
    return np.zeros((0, 1, 1, 1), np.uint8)


def _thin(images: UInt8[np.ndarray, "m h w c"]) -> UInt8[np.ndarray, "m h2 w2 c"]:
    step = -(-max(images.shape[1:3]) // _MAX_SIDE)
    return images[:, ::step, ::step]


def png_uri(image: UInt8[np.ndarray, "h w c"]) -> str:
    """An image of one channel or three as a PNG in a data URI."""
    from PIL import Image  # matplotlib brings Pillow

    pixels = image[..., 0] if image.shape[-1] == 1 else image[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery_html(gallery: Gallery, name: str) -> str:
    """One selection: a line of facts, its classes and weights (identifiers under `name`), and the
    examples of most weight, a line of them open."""
    weights, shown = gallery.weights, max(len(gallery.images), len(gallery.texts))
    equal = len(weights) > 0 and float(np.ptp(weights)) < 1e-6
    spread = (
        "all of weight 1"
        if equal
        else f"weights {weights[-1]:.2g} to {weights[0]:.3g}, mean 1; "
        f"the heaviest tenth carries {100 * _top_share(weights):.0f} % of the weight"
    )
    head = f"<h4>{escape(gallery.label)}</h4>"
    plot = "" if equal else f'<div class="weights">{histogram(weights, name)}</div>'
    which = f"{shown} of them" if equal else f"the {shown} heaviest"
    return (
        f'<article class="selection">{head}<p>{len(weights)} examples, {spread}.</p>'
        f'<div class="pair">{classes_html(gallery.shares)}{plot}</div>'
        f"{_folded(_picture_tags(gallery), PICTURES, which, _as_pictures)}"
        f"{_folded(_text_tags(gallery), TEXTS, which, _as_list)}</article>"
    )


def _folded(tags: list[str], opened: int, which: str, around: Callable[[str], str]) -> str:
    """The first ones, and all of `which` behind a click where there are more."""
    if len(tags) <= opened + 2:
        return around("".join(tags)) if tags else ""
    first, rest = "".join(tags[:opened]), "".join(tags[opened:])
    more = f"<details><summary>more: {which}</summary>{around(rest)}</details>"
    return around(first) + more


def _as_pictures(tags: str) -> str:
    return f'<div class="gallery">{tags}</div>'


def _as_list(tags: str) -> str:
    return f'<ul class="texts">{tags}</ul>'


def _picture_tags(gallery: Gallery) -> list[str]:
    return [
        f'<figure title="{escape(label)}, weight {weight:.2f}">'
        f'<img src="{png_uri(image)}" alt="{escape(label)}">'
        f"<figcaption><i>{escape(label)}</i><span>{weight:.2f}</span></figcaption></figure>"
        for image, label, weight in zip(
            gallery.images, gallery.classes, gallery.weights, strict=False
        )
    ]


def _text_tags(gallery: Gallery) -> list[str]:
    """The texts, each with its class and weight."""
    return [
        f"<li>{escape(text)} <small>{escape(label)} · {weight:.2f}</small></li>"
        for text, label, weight in zip(
            gallery.texts, gallery.classes, gallery.weights, strict=False
        )
    ]


def _top_share(weights: Float[np.ndarray, "k"]) -> float:
    """Share of all weight on the heaviest tenth of the examples (at least one)."""
    total = float(weights.sum())
    return float(weights[: max(1, len(weights) // 10)].sum()) / total if total > 0 else 0.0
