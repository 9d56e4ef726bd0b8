"""The examples do what they say, run as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def output_of(name):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_own_loop():
    text = output_of("own_loop.py")
    found = re.fullmatch(r"65 of 1294 examples: test accuracy (.*) %, matched to (.*)\n", text)
    assert found, text
    assert float(found[1]) > 88, "a random draw of 65 gives less"
    assert float(found[2]) < 0.2


def test_own_strategy():
    accuracy = {
        name: float(value)
        for name, value in re.findall(r"([\w-]+) +(.*) %\n", output_of("own_strategy.py"))
    }
    assert set(accuracy) == {"hardest", "hardest-warm", "adaptive-random", "gradmatch-warm"}
    assert all(value > 10 for value in accuracy.values())
    assert accuracy["gradmatch-warm"] > 90
