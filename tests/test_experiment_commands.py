"""What every measurement's command shares: refused in time, and a table that is all there."""

import json
from pathlib import Path

import pytest

from experiments.bench import comparison, compilation, gpu_check, run_profile
from experiments.command import show
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.tables import Column, rich_table


def test_gpu_check_refuses_a_missing_folder_before_it_measures(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        gpu_check.main(gpu_check.GPUCheck(data_dir=tmp_path / "none", results=tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_a_table_is_printed_whole_in_a_narrow_window(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    columns = [Column[int](f"heading number {i}", lambda row: row) for i in range(9)]
    show(rich_table(columns, [123456789]))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert printed.count("123456789") == 9


@pytest.mark.thorough
def test_a_comparison_is_timed_twice(tmp_path, monkeypatch):
    """The second finds what the first has compiled, in a folder that is gone afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    args = comparison.Comparison(quick=True, results=tmp_path / "r.jsonl")
    comparison.main(args)
    (record,) = map(json.loads, args.results.read_text().splitlines())
    assert record["runs"] == 2
    assert record["same_accuracies"]
    assert len(record["again"]) == 1
    assert 0 < record["again"][0]["cpu_seconds"] < record["first"]["cpu_seconds"]
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


@pytest.mark.thorough
def test_what_sizes_near_one_another_compile_is_measured(tmp_path):
    """That it is no solver is a test of programs, in selection/test_other_sizes.py."""
    args = compilation.Compilation(quick=True, results=tmp_path / "r.jsonl")
    compilation.main(args)
    records = {r["differs"]: r for r in map(json.loads, args.results.read_text().splitlines())}
    assert set(records) == {"budget", "examples", "classes"}
    for record in records.values():
        assert 0 <= record["second"] < record["first"]
        assert record["all"] == sum(record["seconds"])


def test_a_selection_of_an_unknown_kind_is_refused(tmp_path):
    args = compilation.Compilation(kinds=("crag",), results=tmp_path / "r.jsonl")
    with pytest.raises(UserError, match="Did you mean 'craig'"):
        compilation.main(args)
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.thorough
def test_an_interval_is_taken_apart(tmp_path):
    args = run_profile.Profile(quick=True, results=tmp_path / "r.jsonl")
    run_profile.main(args)
    (record,) = map(json.loads, args.results.read_text().splitlines())
    selects = record["pass_seconds"] + record["solver_seconds"]
    trains = record["training_seconds"]
    assert min(record["pass_seconds"], record["solver_seconds"], trains) > 0
    assert record["training_share"] == pytest.approx(trains / (trains + selects))
    assert record["training_share"] < record["training_share_warm"] < 1


def test_a_profile_leaves_out_pools_that_a_run_would_widen():
    asked = run_profile.configurations(
        run_profile.Profile(strategies=("craig",), data_dir=Path("."))
    )
    assert [(c.fraction, c.pool) for c in asked] == [
        (0.01, 1.0), (0.01, 0.2), (0.05, 1.0), (0.05, 0.2), (0.1, 1.0), (0.1, 0.2), (0.3, 1.0),
    ]  # fmt: skip
    with pytest.raises(UserError, match="--data-dir is missing"):
        run_profile.main(run_profile.Profile())
