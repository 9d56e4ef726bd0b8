"""The fuzzer at a size of seconds; `experiments.robustness.fuzz` reads thousands."""

import numpy as np
import pytest

from experiments.robustness import fuzz
from experiments.robustness.samples import samples
from toys import WHOLE

SAMPLES = samples()
# A child of its own for each .mat.
COUNTS = dict.fromkeys(SAMPLES, 10 if WHOLE else 4) | {"svhn": 4 if WHOLE else 2}


@pytest.mark.thorough
@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files(name):
    record = fuzz.run(name, SAMPLES[name], COUNTS[name], np.random.default_rng(1), fuzz.Fuzz())
    assert record["failures"] == []
    assert sum(record[outcome] for outcome in fuzz.OUTCOMES) == COUNTS[name]
    assert record["refused"] + record["changed"] > 0


def test_a_child_that_dies_is_blamed_on_its_case(monkeypatch):
    monkeypatch.setattr(fuzz, "child", lambda job, seconds: (-11, '["same", ""]\n'))
    record = fuzz.run("npz", SAMPLES["npz"], 4, np.random.default_rng(0), fuzz.Fuzz())
    assert (record["same"], record["failed"]) == (2, 2)
    assert "the child ended, status -11" in record["failures"][0]


def test_a_change_unseen_is_a_failure(monkeypatch):
    monkeypatch.setattr(fuzz, "child", lambda job, seconds: (0, '["changed", ""]\n' * 4))
    checked = fuzz.run("npz", SAMPLES["npz"], 4, np.random.default_rng(0), fuzz.Fuzz())
    assert (checked["failed"], checked["changed"]) == (4, 0)
    assert "the data changed unseen" in checked["failures"][0]
    raw = fuzz.run("tsv", SAMPLES["tsv"], 4, np.random.default_rng(0), fuzz.Fuzz())
    assert (raw["failed"], raw["changed"]) == (0, 4)
