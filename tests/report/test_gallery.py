"""The gallery of what is no picture: words of texts, and nothing but the histogram of numbers."""

import numpy as np
import pytest

from gradmatch_jax.data import Split
from gradmatch_jax.report.classes import class_shares, classes_html, overlap_html
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
    assert gallery.shares == (("no", 1, 1), ("yes", 2, 1))
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
    assert '<ul class="texts">' not in html
    assert "shown" not in html
    assert '<div class="weights"><svg' in html


def test_classes_are_counted_as_numpy_counts_them():
    rng = np.random.default_rng(0)
    labels, names = rng.integers(0, 30, 400), [f"c{i}" for i in range(31)]
    selected = labels[rng.choice(400, 50, replace=False)]
    shares = class_shares(names, labels, selected)
    assert [s.trained for s in shares] == [np.sum(labels == c) for c in range(31)]
    assert [s.selected for s in shares] == [np.sum(selected == c) for c in range(31)]
    html = classes_html(shares)
    assert html.count("<li ") == 31
    assert "<span>" not in html, "no room for so many names"
    assert "<span>c1</span>" in classes_html(shares[:20])
    assert f"none of {sum(s.selected == 0 for s in shares)}" in html


def test_overlap_is_the_share_of_the_rows_own_selection():
    html = overlap_html(["a", "b<"], [np.arange(10), np.arange(5, 10)])
    assert "50.0 % of 1 a is in 2 b&lt;" in html
    assert "100.0 % of 2 b&lt; is in 1 a" in html


@pytest.mark.parametrize("n", [14, 15, 30])
def test_a_line_of_pictures_is_open_and_the_rest_a_click_away(n):
    train = Split(np.zeros((n, 4, 4, 1), np.uint8), np.zeros(n, np.int32))
    gallery = pick("gradmatch", 0.1, 0, train, ("no",), np.arange(n), np.arange(n) + 1.0)
    html = gallery_html(gallery, "g0")
    assert html.count("<img ") == n
    assert html.split("<details>")[0].count("<img ") == (n if n <= 14 else 12)
