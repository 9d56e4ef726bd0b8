"""What the command line names: used, or refused in one line that says what to do."""

import pytest

from experiments.paper import __main__ as paper
from experiments.paper.exhibit import stand
from experiments.paper.exhibits import find
from experiments.paper.named import with_data
from experiments.paper.study import Asked, State
from experiments.records import read
from paper_records import made_up, run, write

INTERVALS = find("figure4a").sources


def refused(capsys, *arguments):
    """The one line of a command that is refused."""
    assert paper.main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    return said.err


def test_one_data_set_may_have_its_own_folder(tmp_path):
    mnist = [source for source in INTERVALS if source.dataset == "mnist"]
    own = Asked(data_dir=tmp_path)
    assert with_data(mnist, own) == [(source, tmp_path) for source in mnist]
    (tmp_path / "mnist").mkdir()
    assert with_data(mnist, own) == [(source, tmp_path / "mnist") for source in mnist]


def test_of_several_what_is_not_there_is_left_out(tmp_path, capsys):
    (tmp_path / "mnist").mkdir()
    found = with_data(INTERVALS, Asked(data_dir=tmp_path))
    assert {source.dataset for source, _ in found} == {"mnist"}
    assert capsys.readouterr().out.count("left out") == len(INTERVALS) - len(found) == 2


def test_a_folder_with_none_of_them_is_refused(tmp_path, capsys):
    where = ["--data-dir", str(tmp_path), "--results", str(tmp_path)]
    said = refused(capsys, "run", "figure4a", *where, "--fractions", "0.05")
    assert "has none of the folders cifar100, mnist" in said
    assert "--studies" in said


def test_the_own_folder_does_for_the_named_studies(tmp_path, capsys):
    """These have all their records: the data is not read."""
    study = next(source for source in INTERVALS if source.name == "mnist_interval")
    made_up(study, tmp_path)
    (tmp_path / "own").mkdir()
    where = ["--data-dir", str(tmp_path / "own"), "--results", str(tmp_path)]
    assert paper.main(["run", "figure4a", *where, "--studies", "mnist_interval"]) == 0
    assert capsys.readouterr().out == "mnist_interval: done\n"


@pytest.mark.parametrize("name", ["table3", "table8"])
def test_no_epochs_is_refused(name, tmp_path, capsys):
    where = ["--data-dir", str(tmp_path), "--results", str(tmp_path)]
    assert "--epochs" in refused(capsys, "run", name, *where, "--epochs", "0")


def test_a_strategy_that_the_rehearsal_has_not_is_refused(tmp_path, capsys):
    asked = ["--quick", "--results", str(tmp_path), "--strategies", "glister"]
    assert "no strategy of its rehearsal" in refused(capsys, "run", "mnistnet", *asked)


def test_no_runs_are_not_all_runs():
    nothing, some = State(0, 0, 0, 0, 0.0), State(3, 6, 1, 2, 1.0)
    assert str(nothing) == "nothing of it was asked for"
    assert stand([nothing, some]) == some


@pytest.mark.parametrize(
    "command", [["table", "table3"], ["figure", "figure1"], ["report"]], ids=lambda c: c[0]
)
def test_where_nothing_can_be_written_is_said(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.paper.page.page", lambda asked: "a page")
    (tmp_path / "file.svg").touch()
    for out in (tmp_path / "file.svg" / "x.svg", "/proc/x.svg"):
        said = refused(capsys, *command, "--results", str(tmp_path), "--out", str(out))
        assert f"--out {out}: " in said


def test_a_part_of_a_figure_does_not_replace_the_whole(tmp_path, capsys):
    asked = ["figure", "figure1", "--results", str(tmp_path), "--seeds", "0"]
    assert "name its file" in refused(capsys, *asked)
    assert not list(tmp_path.iterdir())
    assert paper.main([*asked, "--out", str(tmp_path / "part.svg")]) == 0
    assert (tmp_path / "part.svg").is_file()


def test_a_rehearsal_is_not_among_the_records(tmp_path):
    file = write(tmp_path / "mnist_table3.jsonl", [run("random", 0.01, 0, 90.0)])
    whole = Asked(results=tmp_path)
    rehearsed = Asked(results=tmp_path, quick=True)
    assert whole.records == tmp_path
    assert rehearsed.records == tmp_path / "quick"
    assert str(Asked(quick=True).records) == "runs/quick"
    before = file.read_text()
    asked = ["run", "table1", "--quick", "--results", str(tmp_path)]
    assert paper.main(asked) == 0
    assert [r["dataset"] for r in read(tmp_path / "quick" / "datasets.jsonl")] == ["digits"]
    assert [p.name for p in tmp_path.glob("*.jsonl")] == [file.name]
    assert file.read_text() == before
