"""Every NAME: its table and figure come out whole, from records and without any."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from experiments.paper import __main__ as paper
from experiments.paper import page, studies
from experiments.paper.draw import convergence, save
from experiments.paper.exhibit import Evidence, stand
from experiments.paper.exhibits import EXHIBITS, IN_ORDER, find
from experiments.paper.exhibits.tradeoff import SHOWN, said
from experiments.paper.points import Point, measured, pareto, published
from experiments.paper.published import accuracy_and_time
from experiments.paper.study import Asked, State, Study
from experiments.records import read
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.drawing import WIDE
from paper_records import made_up, run, write

RESULTS = Path(__file__).parents[2] / "results"
NAMES = [f"table{i}" for i in range(1, 12)] + ["figure1"]
NAMES += [f"figure3{letter}" for letter in "abcdefg"] + [f"figure4{letter}" for letter in "abcde"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A record of every run of every study."""
    folder = tmp_path_factory.mktemp("results")
    for study in [value for value in vars(studies).values() if isinstance(value, Study)]:
        made_up(study, folder, joules=3.6e6)
    return folder


def test_every_name_is_there():
    assert [name for name in EXHIBITS if name in NAMES] == NAMES
    with pytest.raises(UserError, match="Did you mean 'table3'"):
        find("table33")


@pytest.mark.thorough
@pytest.mark.parametrize("exhibit", IN_ORDER, ids=lambda e: e.name)
def test_it_comes_out_whole_where_nothing_was_measured(exhibit, tmp_path):
    evidence = Evidence(Asked(results=tmp_path))
    text = exhibit.table(evidence)
    assert re.search("not measured|not loaded|not counted|none in the paper", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "nan" not in text


@pytest.mark.thorough
@pytest.mark.parametrize("exhibit", IN_ORDER, ids=lambda e: e.name)
def test_it_comes_out_whole_from_records(exhibit, everything):
    evidence = Evidence(Asked(results=everything))
    text = exhibit.table(evidence)
    if exhibit.name not in ("table1", "table8"):
        assert "| infobatch" in text or exhibit.name in SOME_STRATEGIES
        assert re.search(r"\d", text)
    if exhibit.figure is not None:
        axes = exhibit.figure(evidence, WIDE).axes
        assert all(a.lines or "the paper" in a.get_title() for a in axes)
        assert not any("not measured" in t.get_text() for a in axes for t in a.texts)


# Pairs: InfoBatch has no fraction, and no pair.
SOME_STRATEGIES = ("table6",)


def test_no_point_is_of_fewer_runs_than_its_panel_says():
    runs = [run("full", 1.0, s, 99.0, seconds=100) for s in range(3)]
    runs += [run("random", 0.1, s, 90.0) for s in range(3)] + [run("craig", 0.1, 0, 91.0)]
    assert said(measured(runs)) == ", n ≥ 1"
    assert said(measured(runs[:-1])) == ", n ≥ 3"
    by_name = {point.name: point for point in measured(runs)}
    assert (by_name["random"].runs, by_name["craig"].runs) == (3, 1)
    assert by_name["random"].gain == pytest.approx(9), "a tenth of its seconds is selecting"
    assert by_name["random"].error == pytest.approx(100 * 9 / 99)
    assert measured(runs[3:]) == [], "nothing to compare with"


def test_a_curve_is_of_the_epochs_that_all_its_runs_tested():
    runs = [run("random", 0.1, s, 90.0) for s in range(3)]
    runs[0]["curve"] = runs[0]["curve"][::2]
    axes = convergence(runs, ("random",)).axes[0]
    (line,) = axes.get_lines()
    assert line.get_label() == "random, 3 runs"
    assert len(np.asarray(line.get_xdata())) == 10


def test_the_papers_points_are_its_tables():
    points = {(p.name, p.fraction): p for p in published(accuracy_and_time("table2", "cifar10"))}
    point = points["gradmatch-pb-warm", 0.1]
    assert point.gain == pytest.approx(4.34 / 0.62)
    assert point.error == pytest.approx(100 * (95.09 - 92.26) / 95.09)
    assert not any(name == "full" for name, _ in points)


def test_the_pareto_front_is_what_no_other_beats():
    rng = np.random.default_rng(0)
    points = [Point(str(i), 0.1, "", g, e, 3) for i, (g, e) in enumerate(rng.random((40, 2)))]
    front = pareto(points)
    for p in points:
        beaten = any(q.gain >= p.gain and q.error <= p.error and q != p for q in points)
        assert (p in front) != beaten
    assert front == sorted(front, key=lambda p: p.gain)


@pytest.mark.thorough
def test_every_fair_baseline_is_run_with_the_papers_rows():
    for study in (studies.MNIST, studies.CIFAR10, studies.IMAGENET, studies.MNIST_IMBALANCED):
        labels = {job.label for job in study.jobs(Asked())}
        assert {*studies.FAIR, "infobatch", "full"} <= labels
    assert {*studies.FAIR, "infobatch", "full"} <= {*SHOWN}


def test_a_study_is_planned_in_its_order_and_resumes(tmp_path):
    asked = Asked(strategies=("random", "full", "infobatch"), fractions=(0.01,), seeds=(0, 1),
                  results=tmp_path)  # fmt: skip
    subsets = ["random-0.01-seed0", "random-0.01-seed1"]
    whole = ["full-1-seed0", "infobatch-1-seed0", "full-1-seed1", "infobatch-1-seed1"]
    assert [job.name for job in studies.MNIST.jobs(asked)] == subsets + whole
    first = Asked(**vars(asked) | {"order": "full"})
    assert [job.name for job in studies.MNIST.jobs(first)] == whole + subsets
    record = run("random", 0.01, 0, 90.0) | {
        "config": {"dataset": "mnist", "lam": 0.5, "epochs": 200}
    }
    write(studies.MNIST.file(asked), [record])
    assert [job.name for job in studies.MNIST.missing(asked)] == [subsets[1], *whole]
    state = studies.MNIST.state(asked)
    assert (state.done, state.runs, state.seeds, state.of) == (1, 6, 0, 2)
    assert str(state) == "partly: 1 of 6 runs, 0 of 2 seeds whole"
    assert stand([state, State(3, 3, 1, 1, 0.0)]).done == 4
    other = record | {"config": {"model": "mnistnet", "epochs": 200}}
    write(studies.MNIST.file(asked), [other])
    assert len(studies.MNIST.missing(asked)) == 6


@pytest.mark.thorough
def test_the_page_has_everything_and_needs_nothing(everything):
    shown = [find(name) for name in ("table3", "figure1", "figure3e", "table6")]
    text = page.page(Asked(results=everything), shown)
    for exhibit in shown:
        assert f'id="{exhibit.name}"' in text
        assert f'href="#{exhibit.name}"' in text
    assert text.count("<svg ") == 2 * 2, "for a desk and a phone"
    assert not re.search(r'(?:src|href)="(?!#)', text.replace('xlink:href="#', 'href="#'))
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "[0.0002]" in text


def test_figures_are_written_the_same_twice(tmp_path):
    evidence = Evidence(Asked(results=RESULTS))
    figure = find("figure3a").figure
    assert figure is not None
    for name in ("a.svg", "b.svg"):
        save(figure(evidence, WIDE), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert mpl.rcParams["svg.fonttype"] == "path", "the look is not left behind"


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys):
    assert paper.main(["figure", "table3"]) == 2
    assert "table3 is a table" in capsys.readouterr().err
    assert paper.main(["run", "table3"]) == 2
    assert "--data-dir is missing" in capsys.readouterr().err
    assert paper.main(["table", "table4", "--form", "methods"]) == 2
    assert paper.main(["table", str(tmp_path / "absent.jsonl")]) == 2
    assert paper.main(["figure", "figure1", "--out", str(tmp_path / "a.gif")]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_a_part_of_a_table_is_run_by_its_studys_name(tmp_path, capsys):
    """The half of Table 2 that a CPU does; of the others not even the data is asked for."""
    (tmp_path / "cifar10").mkdir()
    asked = ["run", "table2", "--data-dir", str(tmp_path), "--results", str(RESULTS)]
    whole = ["--seeds", "0", "--strategies", "random", "craig", "--fractions", "0.1"]
    assert paper.main([*asked, "--studies", "cifar10_lenet", *whole]) == 0
    said = capsys.readouterr().out
    assert said == "cifar10_lenet: done\n", "these runs have their records"
    assert paper.main([*asked, "--studies", "cifar10_lent"]) == 2
    assert "Did you mean 'cifar10_lenet'" in capsys.readouterr().err


@pytest.mark.thorough
def test_list_has_a_line_a_name(tmp_path, capsys):
    assert paper.main(["list", "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^ {name} .*not run", text, re.MULTILINE) for name in NAMES)
    assert "one V100" in text


@pytest.mark.thorough
def test_a_rehearsal_is_made_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paper.main(["run", "table9", "--quick"]) == 0
    (record, *_) = [
        r for r in read(tmp_path / "runs/quick/mnist_table3.jsonl") if r["strategy"] == "random"
    ]
    assert record["never_trained"] == pytest.approx(90, abs=0.2)  # a tenth, kept
    before = len(list(tmp_path.rglob("*.json")))
    assert paper.main(["run", "table9", "--quick"]) == 0
    assert len(list(tmp_path.rglob("*.json"))) == before, "nothing is left to run"


@pytest.fixture(scope="module")
def rehearsals(tmp_path_factory):
    """Where all of them are: exhibits share their runs."""
    return tmp_path_factory.mktemp("rehearsals")


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_rehearsed(name, rehearsals, monkeypatch, capsys):
    """Its runs are made, its table is written and its figure drawn, and none is left to make."""
    monkeypatch.chdir(rehearsals)
    exhibit = find(name)
    assert paper.main(["run", name, "--quick"]) == 0
    assert paper.main(["table", name, "--quick"]) == 0
    assert "nan" not in capsys.readouterr().out
    if exhibit.figure is not None:
        out = rehearsals / f"{name}.svg"
        assert paper.main(["figure", name, "--quick", "--out", str(out)]) == 0
        assert out.stat().st_size > 1000
    assert str(stand(exhibit.states(Asked(quick=True)))) == "done"
