"""The commands in this process, from the words of a command line to what is printed."""

import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from gradmatch_jax import cli
from gradmatch_jax.errors import Stopped
from gradmatch_jax.strategies import STRATEGIES
from gradmatch_jax.training import loop
from refusals import refused


def served(monkeypatch, capsys, *words):
    """What the command prints; it ends well."""
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *words])
    cli.main()
    out, err = capsys.readouterr()
    assert err == ""
    return " ".join(out.split())


TRAIN = ("train", "--strategy", "random", "--model", "logistic", "--epochs", "2")


def test_train_says_what_came_of_it(tmp_path, monkeypatch, capsys):
    words = (*TRAIN, "--fraction", "0.05", "--lr", "50", "--out", str(tmp_path / "run"))
    said = served(monkeypatch, capsys, *words)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"random on 65 of {result['train_size']} examples: test accuracy" in said
    assert f"{result['test_accuracy']:.2f} %" in said
    assert f"warning: {' '.join(result['warning'].split())[:20]}" in said
    assert "records in" in said
    assert re.search(rf"\w+ on {result['train_size']} examples, \d+ epochs", said)
    assert "is already finished; nothing is run again" in served(monkeypatch, capsys, *words)


def test_names_are_printed_as_they_are(tmp_path, monkeypatch, capsys):
    """What looks like markup, an emoji or too long for a screen is a folder's name all the same."""
    runs = tmp_path / f"[red]x :smile: {'long ' * 30}y"
    said = served(monkeypatch, capsys, *TRAIN, "--fraction", "0.05", "--out", str(runs / "[bold]a"))
    assert f"records in {runs}/[bold]a" in said
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", "runs", str(tmp_path)])
    cli.main()
    table = capsys.readouterr().out
    assert f"{runs.name}/[bold]a" in table
    assert "finished" in table


def test_it_says_which_defaults_the_wait_depends_on(monkeypatch, capsys):
    def enough(*args):
        raise Stopped("enough")

    words = ("train", "--strategy", "random", "--fraction", "0.05")
    monkeypatch.setattr(loop, "_train", enough)
    for more, hint in (((), True), (("--model", "logistic"), False), (("--epochs", "1"), False)):
        monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *words, *more])
        with pytest.raises(SystemExit):
            cli.main()
        said = capsys.readouterr().out
        assert ("see --model and --epochs" in said) == hint
        assert " on 1294 examples, " in said


def test_strategies_are_listed(monkeypatch, capsys):
    said = served(monkeypatch, capsys, "strategies")
    assert all(name in said for name in STRATEGIES)


@pytest.mark.thorough
def test_select_says_what_was_selected(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    logits = rng.normal(size=(40, 4)).astype(np.float32)
    arrays = {"logits": logits, "features": np.ones((40, 3), np.float32), "labels": labels}
    np.savez(tmp_path / "in.npz", **arrays)
    words = ("select", "--input", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz"))
    refusal = refused(monkeypatch, capsys, *words, "--budget", "41")
    assert "--budget must be from 1 to 40, the rows of the input" in refusal
    said = served(monkeypatch, capsys, *words, "--budget", "30", "--eps", "1e9")
    assert "out.npz: 30 examples, " in said
    assert "matching stopped short of the budget: " in said
    np.savez(tmp_path / "in.npz", **arrays | {"logits": logits[0]})
    (tmp_path / "out.npz").unlink()
    refusal = refused(monkeypatch, capsys, *words, "--budget", "3")
    assert "logits must be (n, C), not (4,)" in refusal


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "", "/some/file"), "/some/file: No space left on device; make"),
        (OSError(errno.EIO, ""), "a file: Input/output error; name another place"),
    ],
)
def test_what_the_system_refuses_in_the_middle_of_it(monkeypatch, capsys, error, said):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(loop, "train", fail)
    assert said in refused(monkeypatch, capsys, *TRAIN)


def test_a_run_that_was_stopped(monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise Stopped("stopped in epoch 3;\nnothing is kept without --out")

    monkeypatch.setattr(loop, "train", stopped)
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *TRAIN])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 128  # and the signal's number, of which there was none
    err = capsys.readouterr().err
    assert err == "gradmatch-jax: stopped in epoch 3; nothing is kept without --out\n"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "command", ["gradmatch_jax.cli train", "experiments.paper run", "experiments.bench.omp"]
)
def test_whoever_reads_may_stop_reading(command):
    """As `gradmatch-jax train --help | head -3` does: no message, and the status of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--help"],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_predictions_go_to_an_npz(tmp_path, monkeypatch, capsys):
    """Said before the run is opened."""
    words = ["predict", "--run", "nowhere", "--input", "x.npz", "--out", str(tmp_path / "p.csv")]
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert "must end in .npz" in capsys.readouterr().err
