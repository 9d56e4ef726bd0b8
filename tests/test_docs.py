"""Every code block of the README and the documentation does what it says.

Python runs, a page's blocks one after the other in one namespace; commands are given to the
command's own parser, and those of the first page are run.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import first_hour, own_loops
from experiments.records import read
from gradmatch_jax import cli
from gradmatch_jax.errors import UserError
from toys import LONG

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^# needs (\w+)$", re.MULTILINE)
OURS = "gradmatch-jax "


def blocks(page, language):
    return [code for kind, code in BLOCK.findall(page.read_text(encoding="utf-8"))
            if kind == language]  # fmt: skip


def commands():
    for page in PAGES:
        for code in blocks(page, "bash"):
            for line in code.splitlines():
                if OURS in line and "--version" not in line:  # which is no subcommand
                    yield pytest.param(line[line.index(OURS) :], id=f"{page.stem}: {line}"[:90])


def readers_own(names):
    """What the README's loops have of the reader's own: a model, arrays, a step, a data set."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.head = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(jnp.tanh(x))

    y = np.arange(120) % 3
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    taken = []
    names |= {
        "model": Net(nnx.Rngs(0)), "x": x, "y": y, "epochs": 2,
        "step": lambda *args: taken.append(args),
    }  # fmt: skip
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        net = torch.nn.Module()
        net.fc = torch.nn.Linear(4, 3)
        net.forward = lambda x: net.fc(torch.tanh(x))
        names |= {
            "net": net, "cross_entropy": torch.nn.functional.cross_entropy,
            "dataset": torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)),
        }  # fmt: skip
    return taken


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_runs(page, tmp_path, monkeypatch):
    from gradmatch_jax.strategies import STRATEGIES

    monkeypatch.chdir(tmp_path)
    before = dict(STRATEGIES)
    names, skipped = {}, []
    for code in blocks(page, "python"):
        for package in NEEDS.findall(code):
            try:
                __import__(package)
            except ImportError:
                skipped.append(package)
                break
        else:
            stepped = readers_own(names) if page.stem == "README" else []
            # Readers' own code is theirs.
            with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
                exec(compile(code, page.name, "exec"), names)
            assert stepped or "step(" not in code or page.stem != "README"
    STRATEGIES.clear()
    STRATEGIES.update(before)
    if skipped:
        pytest.skip(f"without {', '.join(skipped)}: the rest of the page ran")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_parse(line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.json").write_text('{"strategy": "random"}')
    settings = {"settings": {"strategies": ["random"], "fractions": [0.1], "seeds": [0]}}
    (tmp_path / "runs" / "compare" / "digits").mkdir(parents=True)
    record = tmp_path / "runs" / "compare" / "digits" / "compare.json"
    record.write_text(json.dumps(settings))
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    assert cli._parse() is not None


@pytest.mark.thorough
@LONG
def test_the_first_page_is_walked(tmp_path, capsys):
    """Everything that it has one type, as a newcomer does, in short: a rehearsal of the record."""
    args = first_hour.FirstHour(quick=True, keep=tmp_path / "hour", results=tmp_path / "r.jsonl")
    first_hour.main(args)
    (record,) = read(tmp_path / "r.jsonl")
    typed = [step["typed"] for step in record["steps"]]
    assert [typed[0], typed[1]] == ["`gradmatch-jax --version`", "`gradmatch-jax compare`"]
    assert sum("pictures.npz" in line for line in typed) == 2
    assert sum("texts/manual" in line for line in typed) == 2
    assert all(step["seconds"] > 0 for step in record["steps"])
    assert len(capsys.readouterr().out.splitlines()) == len(typed)
    for name in ("digits", "npz", "tsv"):
        assert (tmp_path / "hour" / "runs" / "compare" / name / "report.html").stat().st_size > 0


def test_the_first_pages_seconds_are_those_of_its_record():
    """The newest one, of the commands that the page has one type."""
    page = first_hour.PAGE.read_text(encoding="utf-8")
    records = read(ROOT / first_hour.FirstHour.results)
    if not records:
        pytest.skip("no first hour is recorded yet; the page has no seconds")
    record = records[-1]
    assert first_hour.with_table(page, record) == page
    assert [step["typed"] for step in record["steps"]] == [
        step.named for step in first_hour.steps(page)
    ]


def test_the_loops_figures_are_those_of_their_records():
    """Every example that there is, each seed's figure, and for how many the choice was better."""
    page = (ROOT / "docs" / "loops.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| `loop_")]
    found = {row[0].strip("|` ").removesuffix(".py"): row[3:] for row in rows}
    records = {record["loop"]: record for record in read(ROOT / own_loops.OwnLoops.results)}
    assert found.keys() == records.keys() == set(own_loops.LOOPS)
    for name, columns in found.items():
        shown = [[float(x) for x in column.strip("| ").split(" · ")] for column in columns]
        for kind, values in zip(("chosen", "drawn"), shown, strict=True):
            assert values == pytest.approx(records[name][kind], abs=0.051), (name, kind)
        assert len(shown[0]) == 3
        assert records[name]["better"] == (2 if name == "loop_regression" else 3)


@pytest.mark.thorough
def test_the_loops_are_rehearsed(tmp_path):
    args = own_loops.OwnLoops(quick=True, results=tmp_path / "r.jsonl")
    own_loops.main(args)
    (record,) = read(args.results)
    assert (record["loop"], record["strategy"]) == ("loop_nnx", "gradmatch")
    assert len(record["chosen"]) == len(record["drawn"]) == 1
    with pytest.raises(UserError, match="Did you mean 'loop_nnx'"):
        own_loops.main(own_loops.OwnLoops(names=("loop_nxx",), results=args.results))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 700


def test_every_page_is_in_the_contents():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [page.name for page in PAGES[1:] if page.name not in listed]


@pytest.mark.thorough
def test_the_site_builds(tmp_path):
    """Strictly: every link leads somewhere, every docstring is read. Needs the extra docs."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
