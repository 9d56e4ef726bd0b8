"""Benchmarks beside PyTorch and CORDS, and at ImageNet's size, each at a size of seconds.

PyTorch and CORDS are no dependency: GRADMATCH_TORCH_PYTHON names a Python that has them.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import against_cords, imagenet_size, training
from experiments.records import read
from gradmatch_jax.errors import UserError


@pytest.fixture(scope="module")
def other_python():
    """A Python with torch, SciPy and CORDS, or a skip that says what to do."""
    named = os.environ.get("GRADMATCH_TORCH_PYTHON")
    if named is None:
        pytest.skip("GRADMATCH_TORCH_PYTHON names no Python with torch and cords (see --env)")
    wanted = "import torch, scipy, cords"
    if subprocess.run([named, "-c", wanted], capture_output=True, check=False).returncode:
        pytest.skip(f"{named} cannot `{wanted}`")
    return Path(named)


@pytest.fixture(autouse=True)
def all_cores():
    """The benchmarks pin their process; the tests behind them get their cores back."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if cores is not None:
        os.sched_setaffinity(0, cores)


def test_cords_gets_the_same_problem(other_python, tmp_path):
    results = tmp_path / "r.jsonl"
    against_cords.main(
        against_cords.AgainstCords(quick=True, cords_python=other_python, results=results)
    )
    records = {r["side"]: r for r in read(results)}
    assert records.keys() == {"gradmatch_jax", "cords default", "cords older"}
    for r in records.values():
        assert 0 < r["matched"] <= 12
    ours, theirs = records["gradmatch_jax"], records["cords default"]
    assert ours["objective"] <= theirs["objective"] * 1.01
    assert ours["error"] == pytest.approx(ours["refitted"], rel=1e-4)


def test_training_is_timed_on_both_sides(other_python, tmp_path):
    results = tmp_path / "r.jsonl"
    training.main(
        training.TrainingBenchmark(quick=True, torch_python=other_python, results=results)
    )
    records = read(results)
    assert [r["work"] for r in records] == ["train", "pass"]
    assert all(r["ratio"] > 0 and r["cpu_ratio"] > 0 for r in records)


def test_a_python_without_torch_is_named_in_one_line(tmp_path):
    nowhere = tmp_path / "python"
    with pytest.raises(UserError, match=str(nowhere)):
        training.main(
            training.TrainingBenchmark(quick=True, torch_python=nowhere, results=tmp_path / "r")
        )


def test_an_answers_weights_are_judged_against_its_own_indices():
    atoms, target = np.eye(3, dtype=np.float32), np.array([1.0, 2.0, 0.0], np.float32)
    right = against_cords.judged(atoms, target, np.array([0, 1]), np.array([1.0, 2.0]), 0.0)
    assert right["error"] == pytest.approx(0)
    swapped = against_cords.judged(atoms, target, np.array([0, 1]), np.array([2.0, 1.0]), 0.0)
    assert swapped["error"] == pytest.approx(np.sqrt(2 / 5))
    assert swapped["refitted"] == pytest.approx(0, abs=1e-12)


def test_class_sizes_are_imagenets():
    sizes = imagenet_size.class_sizes(1000, 1.0)
    assert (sizes.sum(), sizes.min(), sizes.max()) == (1_281_167, 732, 1300)
    assert np.sum(sizes == 1300) > 850
    assert imagenet_size.class_sizes(1000, 0.1).sum() == pytest.approx(128_117, rel=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["per-class", "per-batch", "craig"])
def test_imagenets_size_in_small(variant):
    args = imagenet_size.ImageNetSize(scale=0.02, classes=5, features=6, batch_size=8)
    record = imagenet_size.select(args, variant, 0.2)
    assert record["k"] == round(0.2 * record["n"])
    assert 0 < record["num_matched"] <= record["k"]
    assert record["seconds"] > 0
