"""Tables of accuracy and time: ours beside the paper's, what is missing, what settings differ."""

import itertools
import math
from pathlib import Path

import jax
import pytest

from experiments.paper import __main__ as paper
from experiments.paper import published
from experiments.paper.costs import MULTIPLY_ADDS, cost_of
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits import find
from experiments.paper.exhibits.table3 import TABLE3
from experiments.paper.exhibits.table5 import kwh
from experiments.paper.lines import by_fraction
from experiments.paper.methods import methods
from experiments.paper.points import by_joules, measured, relative_error
from experiments.paper.study import Asked
from experiments.records import read
from experiments.runs import run_all
from gradmatch_jax.errors import UserError
from gradmatch_jax.models import build_model
from gradmatch_jax.sweep import Grid, plan
from gradmatch_jax.training import loop
from gradmatch_jax.training.config import TrainConfig
from paper_records import cells, run, write

ROOT = Path(__file__).parents[2]
PAPER = published.accuracy_and_time("table3", "mnist")


def test_table_sets_ours_beside_the_paper(tmp_path):
    runs = [run("gradmatch", 0.01, seed, 98.0 + seed) for seed in range(3)]
    runs += [run("gradmatch", 0.01, seed, 97.0, seconds=8.0, warm=True) for seed in range(3)]
    runs += [run("full", 1.0, seed, 99.0, seconds=500.0) for seed in range(3)]
    text = by_fraction(read(write(tmp_path / "r.jsonl", runs)), PAPER)
    row = cells(text, "gradmatch", "1%")
    assert row["accuracy %"] == "99.00 ± 1.00"
    assert row["paper %"] == "98.95"
    assert row["difference"] == "+0.05"
    assert row["seconds"] == "10.0 ± 0.0"
    assert row["speed-up"] == "90.0", "of 100: a tenth of its seconds is selecting"
    assert row["selecting"] == "1.0 ± 0.0"
    assert row["training %"] == "90.0 ± 0.0"
    assert row["ceiling"] == "100.0"
    assert row["paper's speed-up"] == "16.4"  # 0.82 h / 0.05 h
    warm = cells(text, "gradmatch-warm", "1%")
    assert warm["ceiling"] == "100.0"  # one full epoch and 100 on 1 %
    assert warm["speed-up"] == "87.5"
    assert cells(text, "full", "100%")["speed-up"] == "1.0"
    assert "(!)" not in text
    scored = run("el2n", 0.01, 0, 90.0) | {"examples": 12 * 54000}  # 10 epochs of a proxy
    text = by_fraction([*runs, scored])
    assert cells(text, "el2n", "1%")["ceiling"] == "16.7"


def test_partial_table_renders_and_says_so(tmp_path):
    path = write(tmp_path / "r.jsonl", [run("adaptive-random", 0.05, 0, 98.5)])
    with path.open("a") as file:
        file.write('{"run": "cut off in the mid')
    text = by_fraction(read(path))
    assert "Network: lenet; device: a processor; revision: abc." in text
    row = cells(text, "adaptive-random", "5%")
    assert row["seeds"] == "1 (!)"
    assert row["accuracy %"] == "98.50"
    assert "paper %" not in row, "a column without a figure"
    assert "Speed-up by the run's own clock" in text
    path.write_text("")
    assert "Speed-up" not in by_fraction(read(path))


def test_short_table_has_a_line_a_method():
    runs = [run("craig", 0.01, seed, 98.0 + seed) for seed in range(3)]
    runs += [run("craig", 0.01, 0, 97.0, warm=True), run("el2n", 0.05, 0, 60.0)]
    runs += [run("full", 1.0, seed, 99.0, seconds=500.0) for seed in range(3)]
    lines = methods(runs, PAPER).splitlines()
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
    text = by_fraction(runs)
    assert cells(text, "gradmatch, lam 0.5", "1%")["accuracy %"] == "90.00 ± 0.00"
    row = cells(text, "gradmatch, lam 0.0", "1%")
    assert (row["seeds"], row["validation %"]) == ("3", "79.00 ± 0.00")
    assert row["speed-up"] == "90.0"
    assert "validation %" not in cells(by_fraction([run("el2n", 0.1, 0, 1.0)]), "el2n", "10%")
    with pytest.raises(UserError, match=r"one setting a method, not gradmatch \(lam 0.5\)"):
        methods(runs)


def test_a_run_that_diverges_is_in_the_table(tmp_path, monkeypatch):
    base, results = TrainConfig(model="logistic", epochs=2, lr=1e30), tmp_path / "r.jsonl"
    jobs = plan(Grid(base, ("random",)), tmp_path / "runs")
    run_all(jobs, results)
    (record,) = read(results)
    assert record["failed"]["kind"] == "diverged"
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("not tried again"))
    run_all(jobs, results)
    text = by_fraction(read(results))
    row = cells(text, "random", "10%")
    assert (row["seeds"], row["accuracy %"]) == ("0 of 1 (!)", "diverged")
    assert "digits-random-0.1-seed0: diverged: the training loss is" in text
    assert "| random | diverged |" in methods(read(results))


KEPT = {
    "table3": "mnist_table3", "mnistnet": "mnist_mnistnet", "lambda": "mnist_lambda",
    "weighting": "mnist_weighting", "table6": "paper_table6", "table7": "paper_table7",
    "table8": "paper_table8",
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_tables_are_what_their_records_say(name):
    text = find(name).table(Evidence(Asked(results=ROOT / "results")))
    file = ROOT / "results" / f"{KEPT[name]}.md"
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cifar10_lenet", "mnist_speedup"])
def test_a_files_own_table_is_what_its_records_say(capsys, name):
    file = ROOT / "results" / f"{name}.jsonl"
    assert paper.main(["table", str(file)]) == 0
    assert capsys.readouterr().out == file.with_suffix(".md").read_text(encoding="utf-8")


def test_the_readmes_table_is_what_the_records_say():
    """Its columns are some of the short form's; the best method's name is in bold."""
    assert TABLE3.short is not None
    text = TABLE3.short(Evidence(Asked(results=ROOT / "results")))
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| method | 1% |"))
    headings = _of_row(lines[first])
    known = {cells[0]: cells for cells in map(_of_row, text.splitlines()) if len(cells) > 1}
    rows = list(itertools.takewhile(bool, lines[first + 2 :]))
    assert len(rows) == 6
    for row in map(_of_row, rows):
        name = row[0].strip("*")
        if name in ("full", "infobatch"):
            said = next(line for line in text.splitlines() if line.startswith(f"{name}: "))
            assert said == f"{name}: {row[1]}, {row[3]} s"
        else:
            places = [known["method"].index(heading) for heading in headings[1:]]
            assert row[1:] == [known[name][place] for place in places], name


def _of_row(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def _on(device, *runs):
    return [run | {"device": device} for run in runs]


def test_seconds_of_two_devices_have_no_mean():
    """Accuracies have, and speed-ups, each by its own clock."""
    runs = _on("old", *(run("full", 1.0, seed, 99.0, seconds=800.0) for seed in range(3)))
    runs += _on("old", run("craig", 0.01, 0, 97.0, seconds=40.0))
    runs += _on("new", *(run("craig", 0.01, seed, 98.0, seconds=10.0) for seed in (1, 2)))
    row = cells(by_fraction(runs), "craig", "1%")
    assert (row["seeds"], row["accuracy %"]) == ("3", "97.67 ± 0.58")
    assert (row["device"], row["seconds"], row["speed-up"]) == ("new", "10.0 ± 0.0", "90.0")
    runs += _on("new", run("full", 1.0, 0, 99.5, seconds=100.0))
    text = by_fraction(runs)
    full = [line for line in text.splitlines() if line.startswith("| full |")]
    assert [_of_row(line)[1] for line in full] == ["old", "new"], "seed 0 was run on both"
    (point,) = measured(runs)
    assert point.gain == pytest.approx((97.5 + 90 + 90) / 3)
    assert point.error == pytest.approx(relative_error(293 / 3, (99.25 + 99 + 99) / 3))
    assert point.runs == 3
    assert "Of 2 devices" in text
    assert "| craig | 97.67 ± 0.58 | – | 9 + 1 |" in methods(runs)
    assert "full: 99.00 ± 0.00, 799 + 1 s" in methods(runs), "where most were run"


def test_by_its_own_clock_a_busy_session_is_as_fast_as_an_idle_one():
    """Twice as slow in every second, against full training of an idle machine."""
    full = run("full", 1.0, 0, 99.0, seconds=100.0)
    idle, busy = run("craig", 0.1, 0, 98.0, seconds=20.0), run("craig", 0.1, 1, 98.0, seconds=40.0)
    for each, selecting in ((idle, 10.0), (busy, 20.0)):
        each |= {"selection_seconds": selecting, "train_seconds": selecting}
    gains = [p.gain for r in (idle, busy) for p in measured([full, r])]
    assert gains == pytest.approx([5.0, 5.0]), "half of the ten times that a tenth can save"
    assert measured([idle]) == [], "no accuracy to set beside"


def test_what_is_saved_is_of_full_training_of_the_same_seeds():
    """Seed 1 was run when the machine drew more: its row is set beside its own full training."""
    spent = [("full", 1.0, 0, 100.0), ("full", 1.0, 1, 300.0), ("craig", 0.1, 1, 60.0)]
    spent += [("craig", 0.2, 2, 50.0), ("craig", 0.3, 0, 40.0), ("craig", 0.3, 1, 60.0)]
    runs = [run(name, k, seed, 98.0) | {"joules": joules} for name, k, seed, joules in spent]
    found = {point.fraction: point.gain for point in measured(runs, by_joules)}
    assert found == {0.1: 5, 0.2: 4, 0.3: 4}, "of seed 1; of none in common, all; of both"


def test_rows_without_a_run_keep_the_papers_figure():
    row = cells(by_fraction([], PAPER, [("gradmatch", 0.03)]), "gradmatch", "3%")
    assert (row["accuracy %"], row["paper %"]) == ("not measured", "99.17")


def test_energy_stands_in_its_column_or_says_why():
    runs = [run("random", 0.1, 0, 90.0) | {"joules": 7.2e6}]
    assert cells(by_fraction(runs), "random", "10%")["kWh"] == "2.0000 (1)"
    dark = run("random", 0.2, 0, 90.0) | {"energy_source": "unavailable: no RAPL (see powercap)"}
    row = cells(by_fraction([*runs, dark], expected=[("craig", 0.1)]), "random", "20%")
    assert row["kWh"] == "unavailable: no RAPL", "where others have a figure the cell says why"
    assert "kWh" not in by_fraction([dark]), "where none has, the notes do"
    runs = [run("random", 0.1, 0, 90.0) | {"joules": None, "energy_source": "unavailable: no RAPL"}]
    assert "Energy unavailable: no RAPL." in by_fraction(runs)
    assert kwh(runs)("random", 0.1) == "unavailable: no RAPL"
    assert kwh(runs)("random", 0.2) is None


def test_costs_follow_from_the_record():
    """540 examples 200 times; ten selections that each look at 54,000."""
    line = run("gradmatch", 0.01, 0, 98.0) | {"num_matched": [540] * 10}
    found = cost_of(line)
    assert found.examples == 540 * 200
    assert found.forwards == 3 * 540 * 200 + 10 * 54000
    assert found.flops == pytest.approx(2 * 416_520 * found.forwards)
    pooled = line | {"config": {"epochs": 200, "pool": 0.1}}
    assert cost_of(pooled).forwards == 3 * 540 * 200 + 10 * 5400
    glister = line | {"strategy": "glister"}
    assert cost_of(glister).forwards == pytest.approx(3 * 540 * 200 + 10 * 60000)
    assert cost_of(line | {"strategy": "adaptive-random"}).forwards == 3 * 540 * 200
    assert cost_of(line | {"examples": 7}).examples == 7
    assert cost_of(line | {"model": "of one's own"}).flops is None


@pytest.mark.parametrize("name", ["lenet", "mnistnet"])
def test_multiply_adds_are_those_of_the_layers(name):
    """A kernel is used once an output position: LeNet's 28² and 10², MnistNet's 26² and 24²."""
    model = build_model(name, (28, 28, 1), 10)
    params = jax.eval_shape(model.init, jax.random.key(0)).params
    shapes = [x.shape for x in jax.tree.leaves(params) if len(x.shape) > 1]
    convolutions = sorted((s for s in shapes if len(s) == 4), key=math.prod)
    positions = {"lenet": (28**2, 10**2), "mnistnet": (26**2, 24**2)}[name]
    count = sum(math.prod(s) for s in shapes if len(s) == 2)
    count += sum(math.prod(s) * p for s, p in zip(convolutions, positions, strict=True))
    assert count == MULTIPLY_ADDS[name, "mnist"]
