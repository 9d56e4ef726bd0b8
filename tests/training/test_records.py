"""The shapes of what a run writes: small runs against them, and the check against broken ones."""

import json

import numpy as np
import pytest

from gradmatch_jax.training.records import (
    EpochRecord,
    FailureRecord,
    ResultRecord,
    SelectionArrays,
    SelectionRecord,
    mismatches,
)
from toys import toy


@pytest.mark.thorough
@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "gradmatch", "select_every": 2},
        {"strategy": "gradmatch-pb", "warm": True, "epochs": 8},
        {"strategy": "full", "fraction": None},
        {"strategy": "el2n", "proxy_epochs": 2},
        {"strategy": "infobatch", "fraction": None},
        {"strategy": "full-earlystop"},
    ],
    ids=lambda settings: settings["strategy"],
)
def test_what_a_run_writes_has_its_shape(tmp_path, settings):
    toy(tmp_path / "run", **settings)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert mismatches(result, ResultRecord, "result.json") == []
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert lines
    for line in lines:
        assert mismatches(json.loads(line), EpochRecord, "metrics.jsonl") == []
    with np.load(tmp_path / "run" / "selection.npz", allow_pickle=False) as file:
        assert mismatches(dict(file), SelectionArrays, "selection.npz") == []


SELECTION = {"size": 3, "num_matched": 2, "matching_error": None, "seconds": 1}


@pytest.mark.parametrize(
    ("value", "shape", "said"),
    [
        (SELECTION | {"size": 3.0}, SelectionRecord, "x.size is 3.0, no int"),
        (SELECTION | {"size": True}, SelectionRecord, "x.size is True, no int"),
        (SELECTION | {"seconds": None}, SelectionRecord, "x.seconds is None, no float"),
        (SELECTION | {"speed": 1}, SelectionRecord, "x.speed is unknown"),
        ({k: SELECTION[k] for k in ("size",)}, SelectionRecord, "x.matching_error is missing"),
        ([], SelectionRecord, "x is [], no SelectionRecord"),
        ({"kind": "odd", "reason": "", "epoch": 1}, FailureRecord, "x.kind is 'odd'"),
        ([1.0, "a"], list[float | None], "x[1] is 'a', no "),
        ({"a": 1}, dict[str, str], "x.a is 1, no str"),
        ("a", list[int], "x is 'a', no list"),
        (
            {"indices": np.zeros(3, np.float32), "weights": np.zeros(3, np.float32)},
            SelectionArrays, "x.indices is",
        ),
        (
            {"indices": np.zeros((3, 1), np.int32), "weights": np.zeros(3, np.float32)},
            SelectionArrays, "x.indices is",
        ),
    ],
)  # fmt: skip
def test_what_departs_is_named(value, shape, said):
    assert any(line.startswith(said) for line in mismatches(value, shape, "x"))


def test_what_fits_is_not():
    assert mismatches(SELECTION, SelectionRecord) == []
    assert mismatches(SELECTION | {"stopped": "eps"}, SelectionRecord) == []
