"""The command line: one line and status 2 for what cannot be, and help without JAX."""

import subprocess
import sys

import pytest

from refusals import refused


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "--fracton", "0.3"), ("--fracton", "did you mean --fraction")),
        (("train", "--fraction", "abc"), ("--fraction", "'abc'")),
        (("trian",), ("trian", "train, compare, predict, select, runs, strategies")),
        (("train", "--reader", "x"), ("--reader", "files", "tfds")),
        (("train", "--dataset", "mnst"), ("mnst", "Did you mean 'mnist'?")),
        (("train", "--strategy", "gradmtch-warm"), ("gradmtch", "Did you mean")),
        (("train", "--fraction", "1.5"), ("--fraction", "at most 1")),
        (("train", "--dataset", "mnist", "--data-dir", "no/such"), ("no/such",)),
        (("select", "--budget", "3"), ("missing --input, --out",)),
        (("compare", "--fractions", "0.1", "2"), ("--fraction", "2")),
        ((), ("train, compare, predict, select, runs, strategies",)),
    ],
)
def test_one_line_that_says_what_to_do(monkeypatch, capsys, arguments, parts):
    line = refused(monkeypatch, capsys, *arguments)
    for part in parts:
        assert part in line


def test_help_and_the_list_of_strategies_do_not_load_jax():
    script = """
import sys
from gradmatch_jax.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
assert "jax" not in sys.modules
"""
    for arguments, expected in ((["--help"], "compare"), (["strategies"], "gradmatch-pb")):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
