"""Help in groups, runs listed, plain lines."""

import json
import sys

import numpy as np
import pytest

from gradmatch_jax import TrainConfig, cli, train
from gradmatch_jax.commands.groups import GROUPS, field_docs, flags_of, flat, in_groups
from gradmatch_jax.commands.progress import Clock
from gradmatch_jax.commands.runs import find_runs
from gradmatch_jax.commands.train import TrainCommand
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.config import resolve


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *map(str, arguments)])
    cli.main()
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "compare", "select"])
def test_help_begins_with_what_is_needed_first(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        command(monkeypatch, capsys, name, "--help")
    text = capsys.readouterr().out
    assert text.count(f"gradmatch-jax {name} --") + text.count(f"gradmatch-jax {name}\n") == 2
    places = [text.index(f"{title} options ") for title in ("main", "matching")]
    assert places == sorted(places)
    main = text[places[0] : places[1]]
    assert all(flag in main for flag in ("--strateg", "--fraction", "--out"))
    assert "bove 0 and at most 1" in main


def test_every_field_has_help_and_a_group_that_exists():
    assert set(TrainCommand.__dataclass_fields__) - set(field_docs(TrainCommand)) == {
        "compilation_cache"
    }
    parsed = in_groups(TrainCommand, GROUPS)()
    assert flat(TrainCommand, parsed) == TrainCommand()


def test_flags_are_read_back():
    values = {"fraction": 0.1, "warm": True, "augment": False, "model": None}
    assert flags_of(values) == ["--fraction", "0.1", "--warm", "--no-augment"]


@pytest.mark.thorough
def test_a_run_without_a_terminal_says_where_it_is(tmp_path, monkeypatch, capsys):
    first = tmp_path / "runs" / "a"
    settings = ("--strategy", "random", "--epochs", 3, "--model", "logistic")
    words = ("train", *settings, "--out", first, "--compilation-cache", "off")
    said = command(monkeypatch, capsys, *words)
    assert said.startswith("random on 0.1 of digits, on ")
    assert "compiling" in said.splitlines()[0]
    assert "epoch 2/3  loss " in said
    assert " left\n" in said
    assert "already finished" in command(monkeypatch, capsys, *words)
    again = tmp_path / "runs" / "b"
    command(
        monkeypatch, capsys, "train", "--config", first, "--seed", 1, "--out", again,
        "--compilation-cache", "off",
    )  # fmt: skip
    wanted = json.loads((first / "config.json").read_text())
    found = json.loads((again / "config.json").read_text())
    wanted.pop("data"), found.pop("data")
    assert found == wanted | {"seed": 1}
    table = command(monkeypatch, capsys, "runs", tmp_path / "runs")
    assert table.count("finished") == 2


def test_runs_of_every_state(tmp_path):
    train(TrainConfig(strategy="random", epochs=1, model="logistic"), tmp_path / "a" / "done")
    for name in ("begun", "failed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"strategy": "craig", "warm": true}')
    (tmp_path / "begun" / "metrics.jsonl").write_text("{}\n{}\n")
    (tmp_path / "failed" / "failed.json").write_text('{"kind": "diverged", "reason": "lr"}')
    rows = find_runs(tmp_path)
    assert [row.name for row in rows] == ["a/done", "begun", "failed"]
    assert [row.state for row in rows] == ["finished", "2 epochs done", "diverged: lr"]
    assert rows[1].label == "craig-warm"
    assert rows[0].accuracy is not None
    with pytest.raises(UserError, match="no folder"):
        find_runs(tmp_path / "none")


def test_time_left_counts_from_the_first_asking():
    times = iter([0.0, 10.0, 30.0, 50.0])
    clock = Clock(lambda: next(times))
    assert clock.left(0.5) == ""  # a resumed run: its first half was not waited for
    assert clock.left(0.6) == "1 min 20 s left"
    assert clock.left(1.0) == ""


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedules(schedule):
    config = TrainConfig(strategy="random", epochs=4, model="logistic", lr=0.2, schedule=schedule)
    shares = {"linear": [1, 0.75, 0.5, 0.25], "constant": [1] * 4}
    cosine = [(1 + np.cos(np.pi * i / 4)) / 2 for i in range(4)]
    expected = 0.2 * np.array(shares.get(schedule, cosine))
    np.testing.assert_allclose([row["lr"] for row in train(config).log], expected)


def test_momentum_is_sgds():
    with pytest.raises(UserError, match="--momentum needs --optimizer sgd"):
        resolve(TrainConfig(optimizer="adamw", momentum=0.5))
    assert "momentum" not in resolve(TrainConfig(optimizer="adamw")).to_json()
