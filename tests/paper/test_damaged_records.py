"""Files of records that were cut off, damaged or misspelt: gone on with, or one line."""

import json

import pytest

from experiments.paper.__main__ import main
from experiments.paper.lines import by_fraction
from experiments.paper.points import by_own_clock, measured
from experiments.records import append, read
from experiments.runs import read_runs
from gradmatch_jax.errors import UserError
from paper_records import cells, run, write


def test_what_is_appended_stands_on_its_own_line(tmp_path):
    """Behind a line without an end: a whole record is kept, half of one is cut off."""
    file = tmp_path / "r.jsonl"
    for left, kept in (
        ("", []),
        ('{"a": 1}', [{"a": 1}]),
        ('{"a": 1}\n{"b"', [{"a": 1}]),
        ('{"b', []),
    ):
        file.write_text(left)
        assert read(file) == kept
        append(file, {"c": 3})
        assert read(file) == [*kept, {"c": 3}]


DAMAGED = {
    "half a line": b'{"run": "x", "str\n', "a list": b"[1, 2]\n", "nan": b'{"a": NaN}\n',
    "not UTF-8": b'{"a": "\xff"}\n',
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_line_that_is_no_record_is_named(tmp_path, name):
    good = json.dumps({"a": 1}).encode() + b"\n"
    (tmp_path / "r.jsonl").write_bytes(good + DAMAGED[name] + good)
    with pytest.raises(UserError, match=r"r\.jsonl:2 is no record"):
        read(tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("test_accuracy", None),
        ("fraction", "0.1"),
        ("strategy", "nosuch"),
        ("config", []),
        ("seed", None),
        ("train_size", None),
        ("config", {}),
        ("device", None),
        ("revision", None),
        ("failed", {}),
        ("test_accuracy", True),
        ("fraction", -1),
        ("train_seconds", "1"),
    ],
)
def test_a_record_that_is_none_of_a_run_is_named(tmp_path, capsys, field, value):
    whole = run("gradmatch", 0.01, 0, 98.0)
    assert read_runs(write(tmp_path / "good.jsonl", [whole]))
    file = write(tmp_path / "mnist_table3.jsonl", [whole, whole | {field: value}])
    for asked in (["table", str(file)], ["table", "table3", "--results", str(tmp_path)]):
        assert main(asked) == 2
        said = capsys.readouterr().err
        assert f"{file}:2" in said
        assert f" {field}" in said
        assert ("config.epochs is missing" in said) == (value == {} and field == "config")
        assert said.count("\n") == 1


def test_a_record_without_a_field_is_named_by_its_line(tmp_path):
    whole = run("gradmatch", 0.01, 0, 98.0)
    file = write(tmp_path / "r.jsonl", [whole, {k: v for k, v in whole.items() if k != "curve"}])
    file.write_text(file.read_text().replace("\n", "\n\n"))
    with pytest.raises(
        UserError, match=r"r\.jsonl:3 is no record of a run: curve is missing or null"
    ):
        read_runs(file)


def test_a_run_of_no_seconds_has_no_speed_up():
    runs = [run("random", 0.01, 0, 98.0), run("full", 1.0, 0, 99.0)]
    runs += [run("craig", 0.01, 0, 98.0) | {"train_seconds": 0.0, "selection_seconds": 0}]
    row = cells(by_fraction(runs), "craig", "1%")
    assert (row["speed-up"], row["training %"], row["seconds"]) == ("–", "–", "0.0")
    assert [p.name for p in measured(runs, by_own_clock)] == ["random"]


def test_a_record_twice_is_one_seed():
    """Two workers may have made the same run."""
    first, again = run("gradmatch", 0.01, 0, 98.0), run("gradmatch", 0.01, 0, 98.2)
    row = cells(by_fraction([first, again, run("gradmatch", 0.01, 1, 99.0)]), "gradmatch", "1%")
    assert (row["seeds"], row["accuracy %"]) == ("2 (!)", "98.50 ± 0.71")


MISTAKES = {
    "a strategy": ["run", "table3", "--strategies", "gradmtch", "--data-dir", "."],
    "no data": ["run", "table1", "--data-dir", "nowhere"],
    "no records": ["table", "table3", "--results", "nowhere"],
    "no records to list": ["list", "--results", "nowhere"],
    "a folder for a table": ["table", "table3", "--out", "."],
    "a folder for a page": ["report", "--out", "."],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_was_named_and_is_not_there(name, capsys):
    assert main(MISTAKES[name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
