"""Every code block of the README and the documentation does what it says.

Python runs, a page's blocks one after the other in one namespace; commands are given to the
command's own parser, and those of the first page are run.
"""

import re
import shlex
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradmatch_jax import cli

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
                if OURS in line:
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
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    assert cli._parse() is not None


@pytest.mark.thorough
def test_the_first_page_runs(monkeypatch, tmp_path, capsys):
    """But `compare`, which CI runs by itself in its shortest form."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith(OURS)]
    for line in (line for line in lines if "--data-dir" not in line):
        monkeypatch.setattr(sys, "argv", [*shlex.split(line)])
        cli.main()
    said = capsys.readouterr().out
    assert "finished" in said
    x, y = np.random.default_rng(0).normal(size=(90, 5)), np.arange(90) % 3
    np.savez("mine.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    Path("texts").mkdir()
    for part in ("train", "test"):
        text = "".join(f"{i % 2}\t{'good' if i % 2 else 'bad'} day {i % 3}\n" for i in range(60))
        (Path("texts") / f"topics.{part}.tsv").write_text(text)
    for line in (line for line in lines if "--data-dir" in line):
        monkeypatch.setattr(sys, "argv", [*shlex.split(line), "--epochs", "2"])
        cli.main()
    assert capsys.readouterr().out.count("records in") == 2


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
