"""Runs that were paused, or had others beside them: whose seconds stand for a row's."""

import pytest

from experiments import readme_figure
from experiments.paper.exhibits.table5 import kwh
from experiments.paper.lines import by_fraction
from experiments.paper.methods import methods
from experiments.paper.points import by_joules, measured
from paper_records import cells, run

CORE = "AMD EPYC (1 cores)"
PAUSED, SHARED = f"{CORE}, paused on the way", f"{CORE}, shared with three others"


def _on(device, *runs):
    return [run | {"device": device} for run in runs]


def _row(runs):
    return cells(by_fraction(runs), "craig", "10%")


def _craig(seeds, accuracy=98.0, *, seconds):
    return [run("craig", 0.1, seed, accuracy, seconds=seconds) for seed in seeds]


@pytest.mark.parametrize("mark", [PAUSED, SHARED])
def test_seconds_are_of_the_undisturbed_device(mark):
    """Though more of the row's runs are of the other; accuracies are of all."""
    runs = _on(mark, *_craig((0, 1), 97.0, seconds=1000.0)) + _on(CORE, *_craig((2,), seconds=50.0))
    runs += _on(mark, run("full", 1.0, 0, 99.0, seconds=5000.0))
    runs += _on(CORE, run("full", 1.0, 2, 99.0, seconds=100.0))
    row = _row(runs)
    assert (row["device"], row["seconds"], row["speed-up"]) == (CORE, "50.0", "9.8")
    assert (row["seeds"], row["accuracy %"]) == ("3", "97.33 ± 0.58")
    assert "| craig | 97.33 ± 0.58 | – | 49 + 1 |" in methods(runs)


def test_no_seconds_are_those_of_paused_runs():
    runs = _on(PAUSED, *_craig(range(3), seconds=1000.0), run("full", 1.0, 0, 99.0, seconds=5000.0))
    text = by_fraction(runs)
    row = cells(text, "craig", "10%")
    assert row["accuracy %"] == "98.00 ± 0.00"
    assert not {"seconds", "selecting", "training %", "speed-up"} & set(row)
    assert "Paused on the way: 4 of the runs" in text
    mixed = [*runs, *_on(SHARED, run("random", 0.1, 0, 90.0, seconds=40.0))]
    assert (_row(mixed)["device"], _row(mixed)["seconds"]) == ("–", "–")
    assert "| craig | 98.00 ± 0.00 | – | – |" in methods(runs)
    assert "full: 99.00 (1 of 3 seeds)\n" in methods(runs)
    assert cells(by_fraction(mixed), "random", "10%")["seconds"] == "40.0", "shared ones count"


def test_no_speed_up_is_of_paused_runs():
    """By its own clock a shared run is as fast as an idle one; one that stood still is not."""
    full = run("full", 1.0, 0, 99.0, seconds=100.0)
    slow = _on(PAUSED, *_craig((0, 1), seconds=1000.0))
    assert measured([*slow, *_on(CORE, full)]) == []
    runs = [*slow, *_on(CORE, full, *_craig((2,), 95.0, seconds=2.0))]
    (point,) = measured(runs)
    assert point.gain == pytest.approx(5.0), "half of the ten times that a tenth can save"
    assert point.error == pytest.approx(100 * (99 - 98) / 99), "of seed 0, paused as it was"
    assert point.runs == 1


def test_energy_is_of_the_device_that_is_named():
    joules = ((PAUSED, 0, 72e6), (PAUSED, 1, 72e6), (CORE, 2, 7.2e6))
    runs = [r | {"joules": j} for d, s, j in joules for r in _on(d, *_craig((s,), seconds=9.0))]
    assert _row(runs)["kWh"] == "2.0000 (1)"
    assert kwh(runs)("craig", 0.1) == "2.0000 (1)"
    assert kwh(runs[:2])("craig", 0.1) == "–"
    full = run("full", 1.0, 2, 99.0) | {"joules": 14.4e6, "device": CORE}
    assert [point.gain for point in measured([full, *runs], by_joules)] == pytest.approx([2.0])


def test_the_readmes_seconds_are_no_paused_runs():
    runs = _on(PAUSED, *_craig((0, 1), seconds=1000.0)) + _on(CORE, *_craig((2,), seconds=50.0))
    (point,) = readme_figure.points(runs, ["craig"])["craig"]
    assert (point.seconds, point.runs) == (50.0, 3)
