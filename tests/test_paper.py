"""The paper's tables: what is run, what the paper says, how it is drawn."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from experiments.paper import mnist_table3, published, tables
from experiments.records import read
from experiments.runs import run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.sweep import Grid, plan
from gradmatch_jax.training import loop
from gradmatch_jax.training.config import TrainConfig

ROOT = Path(__file__).parents[1]


def run(strategy, fraction, seed, accuracy, *, seconds=10.0, warm=False):
    """A line of the sweep, with the fields that the table reads."""
    full = strategy == "full"
    size = 54000 if full else round(54000 * fraction)
    return {
        "strategy": strategy, "fraction": fraction, "warm": warm, "seed": seed,
        "test_accuracy": accuracy, "train_seconds": seconds - 1, "selection_seconds": 1.0,
        "train_size": 54000, "subset_size": size, "config": {"epochs": 200},
        "epochs": 101 if warm else 200, "full_epochs": 200 if full else int(warm),
        "device": "a processor", "revision": "abc", "model": "lenet",
    }  # fmt: skip


def write(path, runs):
    path.write_text("".join(json.dumps(r) + "\n" for r in runs))
    return path


def cells(text, strategy, fraction):
    header, *lines = ([c.strip() for c in li.strip("|").split("|")] for li in text.splitlines())
    for found in lines:
        if found[:2] == [strategy, fraction]:
            return dict(zip(header, found, strict=True))
    raise AssertionError(f"no row {strategy} {fraction} in\n{text}")


def test_table_sets_ours_beside_the_paper(tmp_path):
    runs = [run("gradmatch", 0.01, seed, 98.0 + seed) for seed in range(3)]
    runs += [run("gradmatch", 0.01, seed, 97.0, seconds=8.0, warm=True) for seed in range(3)]
    runs += [run("full", 1.0, seed, 99.0, seconds=500.0) for seed in range(3)]
    text = tables.by_fraction(read(write(tmp_path / "r.jsonl", runs)))
    row = cells(text, "gradmatch", "1%")
    assert row["accuracy %"] == "99.00 ± 1.00"
    assert row["paper %"] == "98.95"
    assert row["difference"] == "+0.05"
    assert row["seconds"] == "10.0 ± 0.0"
    assert row["speed-up"] == "50.0"
    assert row["selecting"] == "1.0 ± 0.0"
    assert row["ceiling"] == "100.0"
    assert row["paper's speed-up"] == "16.4"  # 0.82 h / 0.05 h
    warm = cells(text, "gradmatch-warm", "1%")
    assert warm["ceiling"] == "100.0"  # one full epoch and 100 on 1 %
    assert warm["speed-up"] == "62.5"
    assert cells(text, "full", "100%")["speed-up"] == "1.0"
    assert "(!)" not in text
    scored = run("el2n", 0.01, 0, 90.0) | {"examples": 12 * 54000}  # 10 epochs of a proxy
    text = tables.by_fraction([*runs, scored])
    assert cells(text, "el2n", "1%")["ceiling"] == "16.7"


def test_partial_table_renders_and_says_so(tmp_path):
    path = write(tmp_path / "r.jsonl", [run("adaptive-random", 0.05, 0, 98.5)])
    with path.open("a") as file:
        file.write('{"run": "cut off in the mid')
    text = tables.by_fraction(read(path))
    assert "Network: lenet; device: a processor; revision: abc." in text
    row = cells(text, "adaptive-random", "5%")
    assert row["seeds"] == "1 (!)"
    assert row["accuracy %"] == "98.50"
    assert not {"paper %", "speed-up"} & set(row), "columns without a figure"
    path.write_text("")
    assert "no speed-ups" in tables.by_fraction(read(path))
    with pytest.raises(UserError, match="mnist_table3"):
        tables.main(tables.Tables(tmp_path / "absent.jsonl"))


def test_short_table_has_a_line_a_method():
    runs = [run("craig", 0.01, seed, 98.0 + seed) for seed in range(3)]
    runs += [run("craig", 0.01, 0, 97.0, warm=True), run("el2n", 0.05, 0, 60.0)]
    runs += [run("full", 1.0, seed, 99.0, seconds=500.0) for seed in range(3)]
    lines = tables.methods(runs).splitlines()
    assert lines[2] == (
        "| craig | 99.00 ± 1.00 [96.18] | 97.00 (1 of 3 seeds) [98.48] | – | – | 9 + 1 | – |"
    )
    assert lines[3] == "| el2n | – | – | 60.00 (1 of 3 seeds) | – | – | 9 + 1 |"
    assert lines[5] == "full: 99.00 ± 0.00 [99.35], 499 + 1 s"


def test_settings_that_differ_have_rows_of_their_own():
    runs = []
    for lam, accuracy in ((0.5, 90.0), (0.0, 80.0)):
        for seed in range(3):
            line = run("gradmatch", 0.01, seed, accuracy) | {"validation_accuracy": accuracy - 1}
            line["config"] = {"epochs": 200, "lam": lam, "seed": seed}
            runs.append(line)
    runs[0]["config"].pop("lam")  # of a revision without the setting: its default
    text = tables.by_fraction(runs)
    assert cells(text, "gradmatch, lam 0.5", "1%")["accuracy %"] == "90.00 ± 0.00"
    row = cells(text, "gradmatch, lam 0.0", "1%")
    assert (row["seeds"], row["validation %"]) == ("3", "79.00 ± 0.00")
    assert "speed-up" not in row, "nothing to compare with: the column is left out"
    assert "validation %" not in cells(
        tables.by_fraction([run("el2n", 0.1, 0, 1.0)]), "el2n", "10%"
    )
    with pytest.raises(UserError, match=r"one setting a method, not gradmatch \(lam 0.5\)"):
        tables.methods(runs)


def test_a_run_that_diverges_is_in_the_table(tmp_path, monkeypatch):
    base, results = TrainConfig(model="logistic", epochs=2, lr=1e30), tmp_path / "r.jsonl"
    jobs = plan(Grid(base, ("random",)), tmp_path / "runs")
    run_all(jobs, results)
    (record,) = read(results)
    assert record["failed"]["kind"] == "diverged"
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("not tried again"))
    run_all(jobs, results)
    text = tables.by_fraction(read(results))
    row = cells(text, "random", "10%")
    assert (row["seeds"], row["accuracy %"]) == ("0 of 1 (!)", "diverged")
    assert "digits-random-0.1-seed0: diverged: the training loss is" in text
    assert "| random | diverged |" in tables.methods(read(results))


@pytest.mark.parametrize("name", ["mnist_table3", "mnist_lambda", "mnist_weighting"])
def test_tables_are_what_their_records_say(name):
    text = tables.by_fraction(read(ROOT / "results" / f"{name}.jsonl"))
    assert text == (ROOT / "results" / f"{name}.md").read_text(encoding="utf-8")


def test_the_readmes_table_is_what_the_records_say():
    text = tables.methods(read(ROOT / "results" / "mnist_table3.jsonl"))
    row = next(line for line in text.splitlines() if line.startswith("| gradmatch-pb |"))
    assert row == (
        "| gradmatch-pb | 97.54 ± 0.14 [98.70] | 98.45 ± 0.17 [99.00] | 98.73 ± 0.04 [99.25] "
        "| 98.98 ± 0.10 [99.30] | 44 + 78 | 137 + 54 |"
    )


def test_the_papers_figures_are_those_of_its_text(shared_data):
    """Every row of numbers stands in one line of the text, in order."""
    text = next((shared_data.parent / "paper").glob("*.txt"), None)
    if text is None:
        pytest.skip("no text of the paper beside the checkout: its figures are not checked")
    lines = [re.findall(r"\d+\.?\d*", line) for line in text.read_text().splitlines()]
    printed = [list(map(float, line)) for line in lines]
    checked = 0
    for table, values in published.tables().items():
        for row in rows_of({} if table == "settings" else values):
            numbers = [value for value in row if value is not None]
            if len(set(numbers)) == 1:  # full training's, which the text may have once
                numbers = numbers[:1]
            starts = ((line, i) for line in printed for i in range(len(line)))
            assert any(line[i : i + len(numbers)] == numbers for line, i in starts), (table, row)
            checked += 1
    assert checked > 190


def rows_of(value):
    """The lists of numbers in a table, but for its budgets."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name != "budgets":
                yield from rows_of(part)
    elif isinstance(value, list) and all(isinstance(x, (int, float, type(None))) for x in value):
        yield value


def test_every_strategy_of_table_3_has_its_figures():
    paper = published.accuracy_and_time("table3", "mnist")
    assert paper["full", 1.0] == (99.35, 0.82)
    assert paper["craig-pb-warm", 0.05] == (99.01, 0.0902)
    assert paper["glister", 0.1].hours is None
    assert {name for name, _ in paper} <= {*mnist_table3.SUBSETS, "full"}


@pytest.mark.thorough
def test_table_3_rehearsed(tmp_path):
    args = mnist_table3.Table3(quick=True, runs=tmp_path, results=tmp_path / "r.jsonl")
    mnist_table3.main(args)
    assert [(r["strategy"], r["warm"]) for r in read(args.results)] == [
        ("random", False), ("gradmatch-pb", True), ("full", False),
    ]  # fmt: skip
    with pytest.raises(UserError, match="--data-dir"):
        mnist_table3.main(mnist_table3.Table3())


def test_table_3_is_planned_in_its_order():
    args = mnist_table3.Table3(strategies=("random", "full", "infobatch"), seeds=(0, 1))
    subsets = [f"random-{f}-seed{s}" for f in ("0.01", "0.05") for s in (0, 1)]
    whole = ["full-1-seed0", "infobatch-1-seed0", "full-1-seed1", "infobatch-1-seed1"]
    assert [job.name for job in mnist_table3.jobs(args)] == subsets + whole
    args = dataclasses.replace(args, order="full")
    assert sorted(job.name for job in mnist_table3.jobs(args)[:4]) == sorted(whole)
