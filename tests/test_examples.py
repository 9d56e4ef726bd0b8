"""The examples do what they say, run as a reader would run them."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toys import LONG, WHOLE

ROOT = Path(__file__).resolve().parents[1]
LOOPS = sorted(path.stem for path in (ROOT / "examples").glob("loop_*.py"))
WANTS = {"loop_equinox": "equinox", "loop_pytorch": "torch"}


def output_of(name):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.thorough
def test_own_loop():
    text = output_of("own_loop.py")
    found = re.fullmatch(r"65 of 1294 examples: test accuracy (.*) %, matched to (.*)\n", text)
    assert found, text
    assert float(found[1]) > 88, "a random draw of 65 gives less"
    assert float(found[2]) < 0.2


@pytest.mark.thorough
def test_own_strategy():
    accuracy = {
        name: float(value)
        for name, value in re.findall(r"([\w-]+) +(.*) %\n", output_of("own_strategy.py"))
    }
    assert set(accuracy) == {"hardest", "hardest-warm", "adaptive-random", "gradmatch-warm"}
    assert all(value > 10 for value in accuracy.values())
    assert accuracy["gradmatch-warm"] > 90


def loop(name):
    if name in WANTS:
        pytest.importorskip(WANTS[name])
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def own_names(tree):
    """What of this project the code names: its imports, but for the data."""
    return {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and str(node.module).startswith("gradmatch_jax")
        and not str(node.module).startswith("gradmatch_jax.data")
        for alias in node.names
    }


def heads(tree):
    """Each statement as the lines and the names of its own: of a compound one, of its heading."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        body = getattr(node, "body", None)
        parts = [part for part in ast.iter_child_nodes(node)
                 if not isinstance(part, (ast.stmt, ast.excepthandler))]  # fmt: skip
        inner = [one for part in parts for one in ast.walk(part)]
        names = {one.id for one in inner if isinstance(one, ast.Name)}
        names |= {one.arg for one in inner if isinstance(one, ast.arg)}
        targets = getattr(node, "targets", [])
        made = {one.id for part in targets for one in ast.walk(part) if isinstance(one, ast.Name)}
        end = body[0].lineno - 1 if body else node.end_lineno
        yield range(node.lineno, end + 1), names, made


def touched(code):
    """The statements that name this project's functions, what those gave, or weights: their lines.

    What the subset brings into a loop is not in the loop as it was; the marks are not asked.
    """
    tree = ast.parse(code)
    ours, found = own_names(tree), list(heads(tree))
    given = {name for _, names, made in found if names & ours for name in made}
    ours |= given | {"w"}
    return sorted((lines for lines, names, _ in found if names & ours), key=lambda r: r.start)


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "loop_transformer"])
def test_a_loop_of_ones_own_is_touched_in_four_places(name):
    """Statements, imports apart, each marked once, and no others."""
    code = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    lines = code.splitlines()
    marks = [i for i, line in enumerate(lines, 1) if line.endswith("  # +")]
    found = touched(code)
    assert 3 <= len(found) <= 4
    assert [sum(mark in its for mark in marks) for its in found] == [1] * len(found)
    assert len(marks) - 1 == len(found), "one is in the heading"


@pytest.fixture
def users_numerics():
    """The users' own code is theirs: Equinox and Flax add a bias (d,) to rows (n, d)."""
    import jax

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


# A draw is as good there; minutes.
NOT_BETTER, SLOW = "loop_regression", ("loop_transformer", "loop_multi_label", "loop_equinox")


@pytest.mark.thorough
@pytest.mark.parametrize("name", [NOT_BETTER, pytest.param(SLOW[0], marks=LONG), *SLOW[1:]])
def test_a_loop_of_ones_own_runs(name, users_numerics):
    """Those that the next test does not run."""
    module = loop(name)
    assert np.isfinite(module.train(epochs=1))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=LONG if name in SLOW else ())
        for name in LOOPS
        if name != NOT_BETTER
    ],
)
def test_a_loop_of_ones_own_beats_a_fixed_draw(name, users_numerics):
    module = loop(name)
    for seed in range(3 if WHOLE else 1):
        assert module.train(seed=seed) > module.train("random", seed)
