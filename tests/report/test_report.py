"""The page against an HTML parser, its curves against numpy, its pictures decoded."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from gradmatch_jax.data.splits import Split
from gradmatch_jax.report import write_report
from gradmatch_jax.report.drawing import COLOURS, looks
from gradmatch_jax.report.figures import curve, window
from gradmatch_jax.report.gallery import pick, png_uri
from gradmatch_jax.report.labels import Label, beside
from gradmatch_jax.report.page import page
from gradmatch_jax.report.summary import About, notes, summarise
from made_runs import cells, failed_run, make_run, make_runs

VOID = {"meta", "img", "br", "link"}


def make_gallery(fraction=0.1, names=("a", "b"), weights=(1.0, 3.0, 2.0), label="gradmatch"):
    images = np.arange(5 * 8 * 8, dtype=np.uint8).reshape(5, 8, 8, 1)
    split = Split(images, np.array([0, 1, 0, 1, 1], np.int32))
    return pick(label, fraction, 0, split, names, np.array([4, 2, 0]), np.array(weights))


class Page(HTMLParser):
    """Checks nesting; gathers identifiers, references, text and tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.tags, self.text = [], [], [], [], ""
        self.links = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                (self.links if tag == "a" else self.references).append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_is_whole_and_self_contained(tmp_path):
    galleries = [make_gallery(0.1), make_gallery(0.05), make_gallery(0.05, label="random")]
    write_report(tmp_path / "new" / "report.html", make_runs(), galleries)
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    assert found.references
    for reference in found.references:
        assert reference.startswith(("data:image/png;base64,", "#")), reference
        assert not reference.startswith("#") or reference[1:] in found.ids
    assert found.links == []  # these runs have no folder
    for reference in re.findall(r"url\(([^)]*)\)", text):
        assert reference.startswith("#")
        assert reference[1:] in found.ids
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "#010203" not in text  # the stand-in for the page's text colour
    for row in summarise(make_runs()):
        for cell in cells(row):
            assert cell in found.text
    for fact in ("Some CPU (2 cores)", "jax 0.10", "0, 1", "T = 3 epochs, mini-batches of 20"):
        assert fact in found.text
    assert found.tags.count("img") == 3 * 3
    # Two figures for a desk and for a phone each, and the weights.
    assert found.tags.count("svg") == 2 * 2 + 3


@pytest.mark.thorough
def test_page_is_a_function_of_its_input():
    assert page(make_runs(), [make_gallery()]) == page(make_runs(), [make_gallery()])


def test_names_are_escaped():
    runs = [run | {"dataset": "<script>x"} for run in make_runs()]
    found = Page(page(runs, [make_gallery(names=("<b>a", '"q'))]))
    assert "script" not in found.tags
    assert "<script>x" in found.text
    assert "<b>a" in found.text


def test_full_alone_is_a_page_too():
    found = Page(page([make_run("full", 1.0)]))
    assert "svg" not in found.tags


def test_curve_is_the_mean_at_epochs_that_all_runs_tested():
    runs = [make_run(seed=0, accuracy=90.0), make_run(seed=1, accuracy=92.0)]
    runs[1]["log"][0]["test_accuracy"] = 5.0  # tested in one run only
    seconds, accuracy = curve(runs)
    np.testing.assert_allclose(seconds, [1.0 + 0.5 + 0.25, 1.5 + 0.5 + 0.25])
    np.testing.assert_allclose(accuracy, [(80 + 81) / 2, 91])


def test_a_family_shares_a_colour():
    drawn = looks(["full", "random", "gradmatch", "gradmatch-warm"])
    assert list(drawn) == ["random", "gradmatch", "gradmatch-warm"]
    assert drawn["gradmatch"].colour == drawn["gradmatch-warm"].colour != drawn["random"].colour
    assert (drawn["gradmatch"].warm, drawn["gradmatch-warm"].warm) == (False, True)
    assert len(set(COLOURS)) == len(COLOURS)


def test_pick_sorts_by_weight_and_scales_to_mean_one():
    gallery = make_gallery(weights=(1.0, 3.0, 2.0))
    np.testing.assert_allclose(gallery.weights, [1.5, 1.0, 0.5])
    assert gallery.classes == ("a", "a", "b")  # rows 2, 0, 4
    assert [int(image[0, 0, 0]) for image in gallery.images] == [128, 0, 256 % 256]


def test_pick_keeps_the_order_of_equals_and_cuts():
    split = Split(np.zeros((9, 130, 130, 3), np.uint8), np.arange(9, dtype=np.int32))
    names = [str(i) for i in range(9)]
    gallery = pick("random", 0.5, 0, split, names, np.array([7, 3, 5]), np.ones(3), shown=2)
    assert gallery.classes == ("7", "3")
    assert len(gallery.weights) == 3
    assert max(gallery.images.shape[1:3]) <= 64


@pytest.mark.thorough
@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 5.0)])
def test_degenerate_weights_are_shown(weights):
    found = Page(page(make_runs(), [make_gallery(weights=weights)]))
    assert found.tags.count("img") == 3
    assert "nan" not in found.text


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    data = base64.b64decode(png_uri(image).removeprefix("data:image/png;base64,"))
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decoded.reshape(image.shape), image)


def test_failed_runs_are_named_and_not_averaged():
    runs = [*make_runs(), failed_run(seed=2), failed_run("failed", "no memory", fraction=0.2)]
    table = summarise(runs)
    without = {(row.label, row.fraction): row for row in summarise(make_runs())}
    some, none = (row for row in table if row.failures)
    assert some._replace(failures=(), diverged=False) == without["gradmatch", 0.1]
    assert cells(some)[2:4] == ["2 of 3", "91.00 ± 1.41"]
    assert cells(none)[2:] == ["0 of 1", "failed", *["–"] * 6]
    first, second = notes(table)
    assert "gradmatch on 10 %: seed 2 diverged in epoch 2: the training loss is nan" in first
    assert "gradmatch on 20 %: seed 0 failed in epoch 2: no memory" in second
    found = Page(page(runs))
    assert "2 of 3" in found.text
    assert first in found.text
    assert second in found.text


def test_without_a_yardstick_the_rest_is_shown():
    runs = [failed_run(strategy="full", fraction=1.0), make_run()]
    full, row = summarise(runs)
    assert full.accuracy is row.speedup is row.drop is row.ceiling is None
    found = Page(page(runs))
    assert "diverged" in found.text
    assert "svg" not in found.tags
    Page(page(runs[:1]))


def test_the_page_says_what_was_typed_and_how_long_it_took_and_links_to_the_runs():
    runs = [run | {"folder": f"runs/x y/{i}"} for i, run in enumerate(make_runs())]
    about = About("gradmatch-jax compare --epochs 3", 7300.0)
    found = Page(page(runs, about=about))
    assert about.command in found.text
    assert f"2 h 1 min in all for {len(runs)} runs" in found.text
    assert sorted(found.links) == sorted(f"{i}/" for i in range(len(runs)))
    assert "in all for" not in Page(page(runs)).text


def test_methods_that_choose_open_the_gallery():
    galleries = [make_gallery(label=label) for label in ("random", "rs2", "craig", "gradmatch")]
    text = page(make_runs(), galleries)
    places = [text.index(f"<h4>{label}</h4>") for label in ("craig", "gradmatch", "random", "rs2")]
    assert places == sorted(places)
    folded = text.index("<summary>random draws</summary>")
    assert places[1] < folded < places[2]


def test_every_name_stands_beside_its_curve_and_every_point_has_a_value():
    text = page(make_runs())
    for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        for label in ("random", "gradmatch"):
            assert re.search(rf"<text [^>]*>{label}", svg), label
        values = re.findall(r'<g class="value">.*?</g>', svg)
        assert values
        assert all("%" in value for value in values)
    assert "legend" not in text


@pytest.mark.parametrize("full", [None, 99.0, 500.0])
def test_the_window_holds_the_contenders_and_not_the_one_that_failed(full):
    shown = window([91.0, 92.0, 92.5, 93.0, 11.0], [0.1, 0.2, 0.3, 0.1, 40.0], full)
    assert 85 < shown.low < 91
    assert 93.1 < shown.high < 101
    assert window([50.0], [0.0]).high - window([50.0], [0.0]).low >= 1


def test_a_method_far_below_is_named_at_the_edge():
    runs = make_runs() + [
        make_run("craig", f, s, accuracy=20.0 + s) for f in (0.05, 0.1) for s in (0, 1)
    ]
    assert len(re.findall(r">craig 20.5( ↓)?<", page(runs))) == 2 * 2 + 2 * 2


def test_no_name_stands_on_what_is_written():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    point = Label("gradmatch", 0.5, 0.5, "black")
    beside(axes, [point])
    alone = boxes(figure)[-1]
    taken = alone.x0, alone.y0, alone.x1, alone.y1
    beside(axes, [point], [taken])
    assert not boxes(figure)[-1].overlaps(alone), "it has gone elsewhere"


def boxes(figure: Figure) -> list[Bbox]:
    """Where the names in a figure of one panel stand."""
    names = [text for text in figure.axes[0].texts if text.get_text()]
    return [text.get_window_extent() for text in names]
