"""Every page that a reader is given, in a browser: on a desk and on a phone, light and dark.

A quarter of an hour of a core: `.ci/more` runs it, or GRADMATCH_PAGES=1.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import browser
from experiments.paper import page as paper
from experiments.paper.study import Asked
from gradmatch_jax.data.splits import Split
from gradmatch_jax.report.gallery import pick
from gradmatch_jax.report.page import page
from gradmatch_jax.report.summary import About
from made_runs import failed_run, make_runs

ROOT = Path(__file__).parents[1]
LOOKS = {"light": (1280, 800, 400), "dark": (400,)}  # sizes are the same in both

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif("GRADMATCH_PAGES" not in os.environ, reason="GRADMATCH_PAGES is not set"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation, and the paths of its pages."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "-d", str(folder)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, sorted(f"{p.parent.relative_to(folder)}/" for p in folder.rglob("index.html"))


def galleries():
    """Of pictures and of texts, of classes with long names."""
    rng, labels = np.random.default_rng(0), np.arange(60, dtype=np.int32) % 10
    names = [f"a class with a long name, number {i}" for i in range(10)]
    pictures = Split(rng.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8), labels)
    words = ("", "<unk>", *(f"word{i}" * (1 + i % 3) for i in range(40)))
    texts = Split(rng.integers(0, 42, (60, 16), dtype=np.int32), labels)
    rows, weights = np.arange(30), np.linspace(0, 3, 30)
    made = [
        pick(label, 0.1, 0, pictures, names, rows, weights) for label in ("gradmatch", "random")
    ]
    return [*made, pick("craig", 0.1, 0, texts, names, rows, weights, vocabulary=words)]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """`compare`'s page, with a run that came to nothing, and the paper's."""
    folder = tmp_path_factory.mktemp("reports")
    about = About("gradmatch-jax compare --strategies " + "gradmatch-per-class-warm " * 9, 4000.0)
    runs = [*make_runs(), failed_run()]
    (folder / "report.html").write_text(page(runs, galleries(), about), encoding="utf-8")
    whole = paper.page(Asked(results=ROOT / "results"))
    (folder / "paper.html").write_text(whole, encoding="utf-8")
    return folder, ["report.html", "paper.html"]


@pytest.mark.parametrize("scheme", LOOKS)
@pytest.mark.parametrize("kind", ["site", "reports"])
def test_nothing_is_cut_or_small_or_wide(kind, scheme, request):
    folder, pages = request.getfixturevalue(kind)
    assert pages
    assert browser.amiss(folder, pages, LOOKS[scheme], dark=scheme == "dark") == []


AMISS = """<!doctype html><style>p { margin: 0 }</style>
<p style="font-size: 8px">tiny
<p style="width: 900px; background: #eee">wide
<p style="color: #ddd">faint
<p style="width: 40px; overflow: hidden; white-space: nowrap">a long line
<div style="width: 60px; overflow: auto; white-space: nowrap">scrolled along</div>
"""


def test_what_is_amiss_is_seen(tmp_path):
    (tmp_path / "a.html").write_text(AMISS)
    found = browser.amiss(tmp_path, ["a.html"], [400])
    faults = (
        '8.0 px: "tiny',
        "the page is 90",
        "contrast 1.",
        'cut: "a long',
        'scrolls: "scrolled',
    )
    for fault in faults:
        assert any(fault in line for line in found), (fault, found)
    assert not any("the page is" in line for line in browser.amiss(tmp_path, ["a.html"], [1280]))
