"""What a strategy selected: its heaviest examples, and how weight is spread.

Here alone it is known what an input looks like: uint8 (n, h, w, c) are pictures, token ids are
words, and rows of numbers are not shown.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from gradmatch_jax.data import Split
from gradmatch_jax.data.words import decode
from gradmatch_jax.report.figures import histogram
from gradmatch_jax.report.tables import percent

SHOWN = 40
_MAX_SIDE = 64  # pixels of a picture on the page: larger ones are thinned out


class Gallery(NamedTuple):
    """One selection, as the page shows it. Weights are scaled to mean 1, as SGD uses them."""

    label: str
    fraction: float
    seed: int
    images: UInt8[np.ndarray, "m h w c"]  # the heaviest, heaviest first; none if no pictures
    classes: tuple[str, ...]  # of the heaviest
    weights: Float[np.ndarray, "k"]  # of the whole selection, heaviest first
    texts: tuple[str, ...] = ()  # the heaviest, where they are texts


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
    return Gallery(label, fraction, seed, _pictures(rows), classes, scaled, texts)


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
    """One selection: a line of facts, its histogram (its identifiers under `name`), pictures."""
    weights, shown = gallery.weights, max(len(gallery.images), len(gallery.texts))
    equal = len(weights) > 0 and float(np.ptp(weights)) < 1e-6
    spread = (
        "all of weight 1"
        if equal
        else f"weights {weights[-1]:.2g} to {weights[0]:.3g}, mean 1; "
        f"the heaviest tenth carries {100 * _top_share(weights):.0f} % of the weight"
    )
    if 0 < shown < len(weights):
        which = f"; shown: {shown}" if equal else f"; shown: the {shown} heaviest"
    else:
        which = ""
    head = f"<h3>{escape(gallery.label)} <small>{percent(gallery.fraction)}</small></h3>"
    plot = "" if equal else f'<div class="weights">{histogram(weights, name)}</div>'
    pictures = "".join(
        f'<figure><img src="{png_uri(image)}" alt="{escape(label)}">'
        f"<figcaption><i>{escape(label)}</i><span>{weight:.2f}</span></figcaption></figure>"
        for image, label, weight in zip(gallery.images, gallery.classes, weights, strict=False)
    )
    return (
        f'<article class="selection">{head}<p>{len(weights)} examples, {spread}{which}.</p>'
        f'{plot}<div class="gallery">{pictures}</div>{_texts_html(gallery)}</article>'
    )


def _texts_html(gallery: Gallery) -> str:
    """The texts as a list, each with its class and weight; nothing where there are none."""
    rows = "".join(
        f"<li>{escape(text)} <small>{escape(label)} · {weight:.2f}</small></li>"
        for text, label, weight in zip(
            gallery.texts, gallery.classes, gallery.weights, strict=False
        )
    )
    return f"<ol>{rows}</ol>" if rows else ""


def _top_share(weights: Float[np.ndarray, "k"]) -> float:
    """Share of all weight on the heaviest tenth of the examples (at least one)."""
    total = float(weights.sum())
    return float(weights[: max(1, len(weights) // 10)].sum()) / total if total > 0 else 0.0
