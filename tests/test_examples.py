"""The examples do what they say, run as a reader would run them."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_of_ones_own_is_touched_in_four_places(name):
    """Statements marked, imports apart; without them it is the loop as it was."""
    code = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert 3 <= len(re.findall(r"  # \+$", code, re.MULTILINE)) - 1 <= 4  # one is in the heading


@pytest.fixture
def users_numerics():
    """The users' own code is theirs: Equinox and Flax add a bias (d,) to rows (n, d)."""
    import jax

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_of_ones_own_runs(name, users_numerics):
    module = loop(name)
    assert np.isfinite(module.train(epochs=1))


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in LOOPS if name != "loop_regression"])
def test_a_loop_of_ones_own_beats_a_fixed_draw(name, users_numerics):
    module = loop(name)
    for seed in range(3):
        assert module.train(seed=seed) > module.train("random", seed)
