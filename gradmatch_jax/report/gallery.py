"""What a strategy selected: its heaviest examples as pictures, and how weight is spread."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from gradmatch_jax.data import Split
from gradmatch_jax.report.figures import histogram
from gradmatch_jax.report.tables import percent

SHOWN = 40
_MAX_SIDE = 64  # pixels of a picture on the page: larger ones are thinned out


class Gallery(NamedTuple):
    """One selection, as the page shows it. Weights are scaled to mean 1, as SGD uses them."""

    label: str
    fraction: float
    seed: int
    images: UInt8[np.ndarray, "m h w c"]  # the heaviest, heaviest first
    classes: tuple[str, ...]  # of `images`
    weights: Float[np.ndarray, "k"]  # of the whole selection, heaviest first


def pick(
    label: str,
    fraction: float,
    seed: int,
    train: Split,
    class_names: Sequence[str],
    indices: Int[np.ndarray, "k"],
    weights: Float[np.ndarray, "k"],
    *,
    shown: int = SHOWN,
) -> Gallery:
    """The `shown` examples of largest weight; among equals, those selected first."""
    order = np.argsort(-weights, kind="stable")
    top = indices[order[:shown]]
    mean = float(weights.mean()) if len(weights) else 0.0
    scaled = weights[order] / mean if mean > 0 else weights[order]
    classes = tuple(class_names[int(c)] for c in train.labels[top])
    return Gallery(label, fraction, seed, _thin(train.take(top)), classes, scaled)


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
    weights, shown = gallery.weights, len(gallery.images)
    equal = len(weights) > 0 and float(np.ptp(weights)) < 1e-6
    spread = (
        "all of weight 1"
        if equal
        else f"weights {weights[-1]:.2g} to {weights[0]:.3g}, mean 1; "
        f"the heaviest tenth carries {100 * _top_share(weights):.0f} % of the weight"
    )
    if shown < len(weights):
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
        f'{plot}<div class="gallery">{pictures}</div></article>'
    )


def _top_share(weights: Float[np.ndarray, "k"]) -> float:
    """Share of all weight on the heaviest tenth of the examples (at least one)."""
    total = float(weights.sum())
    return float(weights[: max(1, len(weights) // 10)].sum()) / total if total > 0 else 0.0
