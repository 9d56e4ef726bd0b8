"""What is measured by a command of its own: no piece twice, none half counted, stopped in time."""

import pytest

from experiments.paper import __main__ as paper
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits import find, table8
from experiments.paper.exhibits.table1 import DATASETS
from experiments.paper.exhibits.table8 import ERRORS, MOMENTS
from experiments.paper.exhibits.table9 import REDUNDANT
from experiments.paper.study import Asked
from experiments.records import append, read
from gradmatch_jax.errors import UserError
from paper_records import made_up, write

NARROW = {"strategies": ("random", "gradmatch"), "fractions": (0.05,), "seeds": (0, 1)}


def error(variant, seed, epoch, whole):
    """A record of the gradient error."""
    return {
        "variant": variant, "seed": seed, "epoch": epoch, "fraction": 0.05, "whole": whole,
        "config": {"dataset": "mnist"},
    }  # fmt: skip


@pytest.fixture
def half_done(tmp_path):
    """Broken off in the second seed, after its first moment."""
    asked = Asked(results=tmp_path, **NARROW)
    records = [error(v, 0, m, 0.2) for m in MOMENTS for v in ("random", "gradmatch")]
    records += [error("random", 1, 1, 0.9), error("gradmatch", 1, 1, 0.9)]
    records += [error("random", 1, 5, 0.9)]
    write(ERRORS.file(asked), records)
    return asked


def test_a_half_done_measurement_is_finished_and_nothing_twice(half_done, monkeypatch):
    def measured(args):
        for seed in args.seeds:
            for moment in args.moments:
                for variant in args.variants:
                    append(args.results, error(variant, seed, moment, 0.4))

    monkeypatch.setattr(table8.matching_error, "main", measured)
    state = ERRORS.state(half_done)
    assert (state.done, state.runs) == (9, 12)
    assert str(state).startswith("partly: 9 of 12")
    ERRORS.run(half_done)
    assert str(ERRORS.state(half_done)) == "done"
    keys = [(r["variant"], r["seed"], r["epoch"]) for r in read(ERRORS.file(half_done))]
    assert len(keys) == len(set(keys)) == 12
    ERRORS.run(half_done)
    assert len(read(ERRORS.file(half_done))) == 12


def test_a_seed_without_all_its_moments_is_none(half_done):
    text = find("table8").table(Evidence(half_done))
    assert text.count("| 0.2000 (1) |") == 2
    assert "lack a moment, and do not count: 2." in text


@pytest.mark.thorough
def test_a_rehearsal_has_one_moment(tmp_path):
    asked = Asked(quick=True, results=tmp_path)
    ERRORS.run(asked)
    assert [r["epoch"] for r in read(ERRORS.file(asked))] == [1, 1]
    assert str(ERRORS.state(asked)) == "done"


@pytest.mark.parametrize("source", [ERRORS, DATASETS], ids=lambda source: source.name)
def test_a_measurement_stops_when_the_time_is_up(source, tmp_path, capsys):
    source.run(Asked(quick=True, results=tmp_path, minutes=0.0))
    assert "the time is up" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_measurement_goes_to_no_cluster(tmp_path):
    with pytest.raises(UserError, match="leave --on ray out"):
        DATASETS.run(Asked(quick=True, results=tmp_path, on="ray"))


def test_a_folder_without_any_of_the_data_sets_is_refused(tmp_path, capsys):
    asked = ["run", "table1", "--data-dir", str(tmp_path), "--results", str(tmp_path)]
    assert paper.main(asked) == 2
    assert "has none of the folders cifar10, mnist" in capsys.readouterr().err


def test_a_run_without_the_figure_needed_is_made_again_once(tmp_path, monkeypatch, capsys):
    """What its folder cannot tell is said, and no second record like the first is appended."""
    records = made_up(REDUNDANT, tmp_path)
    asked = Asked(results=tmp_path, data_dir=tmp_path)
    older = {k: v for k, v in records[0].items() if k != "never_trained"}
    file = write(REDUNDANT.file(asked), [older, *records[1:]])
    (job,) = REDUNDANT.missing(asked)
    for again, there in ((older, len(records)), (records[0], len(records) + 1)):
        monkeypatch.setattr("experiments.runs.here", lambda jobs, until, r=again: [(job, r)])
        REDUNDANT.run(asked)
        assert len(read(file)) == there
    assert "remove it to run it anew" in capsys.readouterr().out
    assert str(REDUNDANT.state(asked)) == "done"
    assert "are of revisions" not in find("table9").table(Evidence(asked))
