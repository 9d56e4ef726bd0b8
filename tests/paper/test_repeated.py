"""Tables 6 and 7 against SciPy and NumPy, on the records and on made-up figures."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.paper import significance, studies
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits.table6 import COMPARED, SOURCES, TABLE6, of_devices
from experiments.paper.exhibits.table7 import TABLE7, bounds, deviations
from experiments.paper.significance import accuracies, better, matrix, pair
from experiments.paper.study import Asked
from experiments.records import read
from paper_records import run

RESULTS = Path(__file__).parents[2] / "results"


def by_counting(differences):
    """The share of all assignments of signs whose sum of positive ranks is as large."""
    d = np.asarray(differences)
    d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))
    observed = ranks[d > 0].sum()
    signs = np.array(list(itertools.product((0, 1), repeat=len(d))))
    return np.mean(signs @ ranks >= observed - 1e-9)


def _differences(first, second):
    pairs = [pair(first[where], second[where]) for where in first]
    return np.round([a - b for a, b, _ in pairs], 6)


@pytest.fixture(scope="module")
def records():
    files = (studies.MNIST.name, studies.MNISTNET.name)
    return [run for name in files for run in read(RESULTS / f"{name}.jsonl")]


@pytest.fixture(scope="module")
def measured(records):
    return accuracies(records)


@pytest.fixture(scope="module")
def tested(measured):
    return matrix(measured, COMPARED)


def test_p_values_of_the_records_are_those_of_counting(measured, tested):
    """Of twelve pairs: all the assignments of more are too many to go through."""
    for row, column in itertools.permutations(COMPARED, 2):
        shared = sorted(measured[row].keys() & measured[column].keys())
        assert tested[row, column].n == len(shared) > 6
        few = [{w: measured[name][w] for w in shared[::2][:12]} for name in (row, column)]
        differences = _differences(*few)
        found = better(*few)
        assert found.p == pytest.approx(by_counting(differences), abs=1e-12)
        assert found.p >= 0.5**found.n


@pytest.mark.thorough
def test_p_values_are_scipys_where_there_are_no_ties(measured, tested):
    checked = 0
    for row, column in itertools.permutations(COMPARED, 2):
        shared = sorted(measured[row].keys() & measured[column].keys())
        few = [{w: measured[name][w] for w in shared} for name in (row, column)]
        differences = _differences(*few)
        if len(set(np.abs(differences))) == len(differences) and np.all(differences):
            plain = stats.wilcoxon(differences, alternative="greater", method="exact").pvalue
            assert tested[row, column].p == pytest.approx(plain, abs=1e-12)
            checked += 1
    assert checked > 20


def test_pairs_are_of_the_same_seed_and_budget():
    runs = [run("random", 0.1, s, 90.0 + s) for s in range(3)]
    runs += [run("craig", 0.1, s, 91.0 + s) for s in (1, 2, 3)]
    runs += [run("craig", 0.2, s, 99.0) for s in range(3)] + [run("full", 1.0, 0, 99.0)]
    measured = accuracies(runs)
    assert better(measured["craig"], measured["random"]) == (0.25, 2, 0)
    assert better(measured["random"], measured["random"]) == (None, 3, 0)
    assert better(measured["random"], {}) == (None, 0, 0)
    assert "full" not in measured, "it has no budget"


def test_pairs_are_of_one_device_where_both_strategies_have_one():
    """Whatever is marked on it, and whichever record is the first."""
    runs = [run("random", 0.1, 0, 90.0) | {"device": "b"}, run("craig", 0.1, 0, 95.0)]
    runs += [run("craig", 0.1, 0, 89.0) | {"device": "b, paused on the way"}]
    measured = accuracies(runs)
    assert better(measured["random"], measured["craig"]) == (0.5, 1, 0), "90 against 89, of b"
    assert better(measured["craig"], measured["random"]) == (1.0, 1, 0)
    measured = accuracies(runs[:2])
    found = better(measured["craig"], measured["random"])
    assert found == (0.5, 1, 1), "95 against 90, of two devices"
    assert "of a cell's n pairs 1 are of two devices." in of_devices([found])
    assert "0 to 1 are of two devices." in of_devices([found, significance.Tested(0.5, 1, 0)])
    assert "all are." in of_devices(
        [significance.Tested(0.5, 1, 0), significance.Tested(None, 0, 0)]
    )


def test_table6_has_full_earlystop_and_says_how_many_pairs_are_of_two_devices():
    text = TABLE6.table(Evidence(Asked(results=RESULTS)))
    assert "\n| full-earlystop | " in text
    assert "are of two devices." in text


def test_deviations_of_the_records_are_numpys():
    """A seed that was run on two devices is one."""
    records = read(RESULTS / f"{studies.MNIST.name}.jsonl")
    found = deviations(records)
    for name, fraction in (("gradmatch", 0.01), ("craig-warm", 0.05), ("full", 1.0)):
        base, warm = name.removesuffix("-warm"), name.endswith("-warm")
        values = list({
            r["seed"]: r["test_accuracy"] for r in records[::-1]
            if (r["strategy"], r["warm"], r["fraction"]) == (base, warm, fraction)
        }.values())  # fmt: skip
        assert found[name, fraction] == (pytest.approx(np.std(values, ddof=1)), len(values))
    assert deviations([run("random", 0.1, 0, 90.0)]) == {("random", 0.1): (None, 1)}


def test_bounds_hold_what_they_say():
    """Of samples of 3 from a normal source, 95 % have its deviation within their bounds."""
    low, high = bounds(3)
    s = np.std(np.random.default_rng(0).standard_normal((20_000, 3)), axis=1, ddof=1)
    assert np.mean((low * s <= 1) & (high * s >= 1)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.thorough
def test_tables_state_their_n():
    evidence = Evidence(Asked(results=RESULTS))
    text = TABLE6.table(evidence)
    row = next(line for line in text.splitlines() if line.startswith("| adaptive-random |"))
    pairs = accuracies(run for study in SOURCES for run in evidence.runs(study))
    n = len(pairs["adaptive-random"].keys() & pairs["full-earlystop"].keys())
    assert n
    assert f"(n = {n}) | – |" in row
    assert "| <0.0001 (n = " in row
    lower = next(line for line in text.splitlines() if line.startswith("| gradmatch-pb-warm |"))
    assert "[0.0002]" in lower
    line = next(x for x in TABLE7.table(evidence).splitlines() if x.startswith("| gradmatch-pb |"))
    assert "0.150 (3) | 0.018" in line
