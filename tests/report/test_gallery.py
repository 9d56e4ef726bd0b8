"""The gallery of what is no picture: words of texts, and nothing but the histogram of numbers."""

import numpy as np
import pytest

from gradmatch_jax.data import Split
from gradmatch_jax.report.gallery import gallery_html, pick

CHOSEN, WEIGHTS = np.array([2, 0]), np.array([1.0, 3.0])
LABELS = np.array([0, 1, 1], np.int32)


def drawn(inputs, **options):
    gallery = pick(
        "gradmatch", 0.1, 0, Split(inputs, LABELS), ("no", "yes"), CHOSEN, WEIGHTS, **options
    )
    return gallery, gallery_html(gallery, "g0")


def test_texts_show_their_words_heaviest_first():
    ids = np.array([[2, 1, 0], [1, 1, 1], [3, 0, 0]], np.int32)
    gallery, html = drawn(ids, vocabulary=("", "<unk>", "what", "&"))
    assert gallery.texts == ("what <unk>", "&")
    assert "<li>what &lt;unk&gt; <small>no · 1.50</small></li>" in html
    assert "<li>&amp; <small>yes · 0.50</small></li>" in html
    assert "<img" not in html


@pytest.mark.parametrize(
    "inputs",
    [
        np.ones((3, 7), np.float32),
        np.ones((3, 8, 8, 1), np.float32),
        np.ones((3, 8, 8, 2), np.uint8),
    ],
)
def test_numbers_show_the_histogram_alone(inputs):
    gallery, html = drawn(inputs)
    assert (len(gallery.images), gallery.texts) == (0, ())
    assert "<img" not in html
    assert "<li>" not in html
    assert "shown" not in html
    assert '<div class="weights"><svg' in html
