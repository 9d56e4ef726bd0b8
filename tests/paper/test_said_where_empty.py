"""What a figure draws stands in its table too; what has no runs says so."""

from pathlib import Path

import pytest

from experiments.paper import __main__ as paper
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits import find
from experiments.paper.points import by_own_clock, measured
from experiments.paper.study import Asked
from experiments.records import read
from gradmatch_jax.report.drawing import WIDE

RESULTS = Path(__file__).parents[2] / "results"


def test_the_table_of_figure_3f_has_the_numbers_that_it_draws():
    text = find("figure3f").table(Evidence(Asked(results=RESULTS)))
    _, drawn = text.split("### What the figure draws")
    runs = read(RESULTS / "mnist_imbalance.jsonl")
    points = [
        point
        for share in (0.1, 0.5)
        for point in measured([r for r in runs if r["config"]["imbalance"] == share], by_own_clock)
    ]
    rows = [line.split(" | ") for line in drawn.splitlines() if line.startswith("| mnist")]
    assert [row[3:5] for row in rows] == [[f"{p.gain:.2f}", f"{p.error:.2f}"] for p in points]
    assert len(rows) > 20
    assert "by the run's own clock" in drawn


@pytest.mark.parametrize("name", ["figure1", "figure3e", "figure3f", "figure4a", "figure4e"])
def test_every_panel_without_a_run_says_so(name, tmp_path):
    exhibit = find(name)
    assert exhibit.figure is not None
    for axes in exhibit.figure(Evidence(Asked(results=tmp_path)), WIDE).axes:
        drawn = [text.get_text() for text in axes.texts]
        assert drawn == ["not measured"] or axes.lines or not axes.axison


@pytest.mark.parametrize("name", ["table3", "mnistnet"])
def test_a_short_table_without_runs_says_so(name, capsys):
    assert paper.main(["table", name, "--seeds", "97531", "--form", "methods"]) == 0
    assert capsys.readouterr().out == "No runs in the records: nothing measured.\n"
