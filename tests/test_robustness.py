"""The robustness experiments in short: kills, damaged folders, many epochs, other devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.robustness import damage, kills, long_run
from experiments.robustness.victim import moment_of
from toys import LONG

ROOT = Path(__file__).parents[1]


def record_of(results):
    (line,) = results.read_text().splitlines()
    return json.loads(line)


@pytest.mark.thorough
@LONG
def test_a_run_killed_in_saving_and_finishing_ends_as_one_left_alone(tmp_path):
    results = tmp_path / "kills.jsonl"
    assert kills.main(kills.Kills(kinds=("dropout",), most=5, results=results)) == 0
    record = record_of(results)
    assert record["differ"] == []
    assert record["kills"] >= 4
    assert record["in_finish"] >= 2
    assert any("checkpoints" in moment for moment in record["moments"])


def test_moments_are_those_of_the_folder():
    assert moment_of("open", ("/a/run/checkpoints/12.tmp/log.jsonl.tmp", "w"), "/a/run") == (
        "open checkpoints/N.tmp/log.jsonl.tmp"
    )
    assert moment_of("open", ("/a/running/log", "w"), "/a/run") is None
    assert moment_of("open", (3, "w"), "/a/run") is None
    assert moment_of("import", ("/a/run/x",), "/a/run") is None


@pytest.mark.thorough
def test_damaged_folders_end_as_undamaged_ones_or_in_one_line(tmp_path):
    results = tmp_path / "damage.jsonl"
    assert damage.main(damage.Damage(share=0.03, results=results)) == 0
    record = record_of(results)
    assert record["wrong"] == []
    assert record["damages"] > 15
    assert set(record["outcomes"]) == {"same", "refused"}


@pytest.mark.thorough
def test_a_long_run_is_bounded(tmp_path):
    results = tmp_path / "long.jsonl"
    long_run.main(long_run.LongRun(epochs=200, select_every=10, results=results))
    record = record_of(results)
    assert len(record["memory"]) == 10
    assert record["checkpoints"] <= 2
    assert record["log"] < 500 * 200


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("devices", [8, 1])
def test_the_same_seed_in_another_process(tmp_path_factory, devices):
    """To the last bit, whatever the number of host devices."""
    folder = tmp_path_factory.mktemp("seed")
    settings = {"strategy": "gradmatch", "fraction": 0.05, "epochs": 3, "model": "logistic"}
    found = []
    for count in (1, devices):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        run = f"run{len(found)}"
        subprocess.run(
            [sys.executable, "-m", "experiments.robustness.victim", json.dumps(settings),
             str(folder / run), str(folder / f"{run}.npz")],
            check=True, cwd=ROOT, capture_output=True, env=os.environ | {"XLA_FLAGS": flags},
        )  # fmt: skip
        found.append(kills.arrays(folder / f"{run}.npz"))
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
