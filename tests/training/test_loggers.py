"""Loggers: each has the rows of metrics.jsonl, every epoch once, through stops and kills.

What they wrote is read back by formats, not by their own readers: TensorBoard's records and Weights
& Biases' log of an offline run, with the messages that the packages ship.
"""

import csv
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from gradmatch_jax import cli
from gradmatch_jax.errors import Stopped, UserError
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loggers import NAMES, check_log, columns, flat
from gradmatch_jax.training.loop import train
from toys import LONG

CONFIG = TrainConfig(
    strategy="random", fraction=0.05, epochs=6, model="logistic", eval_every=2,
    checkpoint_seconds=1e9,
)  # fmt: skip


class Killed(Exception):
    pass


def interrupted(out, log):
    """Stopped with two epochs saved, killed with two more done, and then done to its end."""
    done = []
    with pytest.raises(Stopped):
        train(CONFIG, out, log=log, stop=lambda: len(done) == 2,
              on_epoch=lambda row, total: done.append(row))  # fmt: skip

    def kill(row, total):
        if row["epoch"] == 3:
            raise Killed

    with pytest.raises(Killed):
        train(CONFIG, out, log=log, on_epoch=kill)
    train(CONFIG, out, log=log)
    return rows_of(out)


def rows_of(out):
    rows = [flat(json.loads(line)) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(6))
    return rows


def read_csv(out):
    with (out / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert all(list(line) == columns() for line in lines)
    return [{name: value for name, value in line.items() if value != ""} for line in lines]


def read_tensorboard(out):
    """(name, step, value) of every scalar in the folder's event files, in order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted((out / "tensorboard").iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += 16 + length
    return found


def read_wandb(out):
    """(step, values) of every row in the folder's offline logs: LevelDB's blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted(out.glob("wandb/offline-run-*/*.wandb")):
        content, at, message = file.read_bytes(), 7, b""
        while at + 7 <= len(content):
            if 32768 - at % 32768 < 7:  # no header fits: the block is padded
                at += 32768 - at % 32768
                continue
            _, length, kind = struct.unpack_from("<IHB", content, at)
            message += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind not in (1, 4):  # whole, or the last part
                continue
            record, message = Record.FromString(message), b""
            if record.HasField("history"):
                items = record.history.item
                values = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                found.append((record.history.step.num or values["_step"], values))
    return found


@pytest.mark.thorough
def test_csv_has_every_row_once(tmp_path):
    rows = interrupted(tmp_path / "run", ("csv",))
    read = read_csv(tmp_path / "run")
    assert [set(line) for line in read] == [set(row) for row in rows]
    for line, row in zip(read, rows, strict=True):
        assert {k: str(v) for k, v in row.items()} == line


@pytest.mark.thorough
def test_tensorboard_has_every_row_once(tmp_path):
    pytest.importorskip("tensorboardX")
    rows = interrupted(tmp_path / "run", ("tensorboard",))
    numbers = [
        (name, row["epoch"], float(value))
        for row in rows
        for name, value in row.items()
        if name != "epoch" and not isinstance(value, str)
    ]
    found = read_tensorboard(tmp_path / "run")
    assert [(name, step) for name, step, _ in found] == [(name, step) for name, step, _ in numbers]
    assert [v for *_, v in found] == pytest.approx([v for *_, v in numbers], rel=1e-6)


def test_a_finished_run_is_logged_afterwards(tmp_path):
    train(CONFIG, tmp_path / "run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    train(CONFIG, tmp_path / "run", log=["csv"])
    assert len(read_csv(tmp_path / "run")) == 6
    assert (tmp_path / "run" / "result.json").read_bytes() == before


SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
done = []
def seen(row, total):
    done.append(row)
    if row["epoch"] == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
config = TrainConfig(**json.loads(sys.argv[1]))
train(config, Path(sys.argv[2]), on_epoch=seen, log=("wandb", "csv"))
"""


@pytest.mark.thorough
@LONG
def test_wandb_offline_has_every_row_once_through_a_kill(tmp_path):
    pytest.importorskip("wandb")
    config = {"strategy": "random", "fraction": 0.05, "epochs": 6, "model": "logistic"}
    out = tmp_path / "run"

    def run(last, seconds):
        settings = json.dumps(config | {"checkpoint_seconds": seconds})
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, settings, str(out), str(last)],
            capture_output=True, text=True, check=False,
            env=os.environ | {"WANDB_MODE": "offline", "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip

    assert run(1, 0).returncode == -signal.SIGKILL  # two epochs, the first is saved
    assert run(3, 1e9).returncode == -signal.SIGKILL  # more, of which none is saved
    last = run(-1, 1e9)
    assert last.returncode == 0, last.stderr
    assert "wandb" not in last.stderr
    rows, found = rows_of(out), read_wandb(out)
    assert [step for step, _ in found] == list(range(6))
    for row, (_, values) in zip(rows, found, strict=True):
        assert {k for k in values if not k.startswith("_")} == set(row) - {"epoch"}
        # The same to the last bit, but for what is timed.
        assert (values["train_loss"], values["lr"]) == (row["train_loss"], row["lr"])
    assert len(read_csv(out)) == 6


def test_a_logger_that_is_not_installed(monkeypatch, tmp_path, capsys):
    for name, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb")):
        monkeypatch.setitem(sys.modules, package, None)
        message = rf"\Alog {name} needs {package}: pip install 'gradmatch-jax\[{name}\]'\Z"
        with pytest.raises(UserError, match=message):
            train(CONFIG, tmp_path / "run", log=[name])
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", "train", "--log", "wandb", "--out", "x"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_no_logger():
    with pytest.raises(UserError, match="cvs"):
        check_log(["cvs"], Path("runs/a"))
    with pytest.raises(UserError, match=r"\Alog needs out"):
        check_log(["csv"], None)


def test_every_logger_is_an_extra_of_its_name():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {*NAMES, "csv"} - {"csv"} <= set(project["optional-dependencies"])


def test_a_comparison_logs_each_run(tmp_path, monkeypatch):
    from gradmatch_jax.commands.compare import CompareConfig, compare

    config = CompareConfig(
        strategies=("random",), fractions=(0.1,), seeds=(0,), epochs=2, model="logistic",
        out=tmp_path, log=("csv",),
    )  # fmt: skip
    for row in compare(config):
        assert (Path(row["folder"]) / "metrics.csv").read_text().count("\n") == 3
