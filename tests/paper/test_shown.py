"""What an exhibit shows and counts: every data set it names, every baseline, no record too many."""

import dataclasses

import pytest

from experiments.paper import __main__ as paper
from experiments.paper import studies
from experiments.paper.exhibit import Evidence
from experiments.paper.exhibits import find
from experiments.paper.exhibits.table9 import REDUNDANT
from experiments.paper.study import Asked
from experiments.records import append
from gradmatch_jax.report.drawing import WIDE
from paper_records import cells, made_up, run, write


def table_of(name, folder, **asked):
    return find(name).table(Evidence(Asked(results=folder, **asked)))


def test_a_record_without_what_is_counted_does_not_count(tmp_path):
    records = made_up(REDUNDANT, tmp_path)
    asked = Asked(results=tmp_path)
    assert str(REDUNDANT.state(asked)) == "done"
    older = [{k: v for k, v in r.items() if k != "never_trained"} for r in records[:5]]
    write(REDUNDANT.file(asked), older + records[5:])
    state = REDUNDANT.state(asked)
    assert (state.done, state.runs) == (len(records) - 5, len(records))
    assert len(REDUNDANT.missing(asked)) == 5, "what is not counted as there is run"
    assert dataclasses.replace(REDUNDANT, needs=None).state(asked).done == len(records)
    assert "5 runs are of revisions that did not count them" in table_of("table9", tmp_path)


def test_the_energy_figures_table_has_its_points(tmp_path):
    made_up(studies.MNIST, tmp_path, joules=3.6e6)
    text = table_of("figure3d", tmp_path)
    assert "| cifar100, the paper's | gradmatch-pb-warm | 5 % |" in text
    assert "| mnist, ours | gradmatch-pb-warm | 5 % | 1.00 |" in text


def test_every_data_sets_kappas_are_drawn(tmp_path):
    for study in (studies.MNIST, studies.CIFAR100_KAPPA):
        made_up(study, tmp_path)
    assert "cifar100" in table_of("figure4e", tmp_path)
    cifar, mnist = find("figure4e").figure(Evidence(Asked(results=tmp_path)), WIDE).axes
    assert cifar.get_title() == "cifar100, 10 %"
    assert mnist.get_title() == "mnist, 5 %; only 1/2 measured"
    labels = [line.get_label() for line in mnist.lines]
    assert "adaptive-random, 3 runs" in labels, "what has no kappa is a line across"
    assert "full-earlystop-fitted, 3 runs" in labels


def test_baselines_stand_at_both_budgets_of_figure_4b(tmp_path):
    made_up(studies.MNIST, tmp_path)
    made_up(studies.MNIST_OFTEN, tmp_path)
    text = table_of("figure4b", tmp_path)
    rows = [line.split("|")[2:4] for line in text.splitlines() if "| adaptive-random |" in line]
    assert [fraction.strip() for _, fraction in rows] == ["5 %", "10 %"]


def test_convergence_is_of_budgets_whose_seeds_share_a_device(tmp_path):
    made_up(studies.MNIST, tmp_path)
    axes = find("figure3e").figure(Evidence(Asked(results=tmp_path)), WIDE).axes
    assert [a.get_title() for a in axes] == ["1 % of the data", "5 % of the data"]
    text = table_of("figure3e", tmp_path)
    assert cells(text, "craig", "5%")
    with pytest.raises(AssertionError):
        cells(text, "craig", "10%")


def test_pairs_that_are_all_equal_are_not_unmeasured(tmp_path):
    runs = [run(name, 0.1, seed, 90.0) for name in ("random", "craig") for seed in range(3)]
    write(studies.MNIST.file(Asked(results=tmp_path)), runs)
    (row,) = [x for x in table_of("table6", tmp_path).splitlines() if x.startswith("| random |")]
    assert "all equal (n = 3)" in row
    assert "not measured" in row


def test_seeds_narrow_a_file_and_leave_what_has_none(tmp_path, capsys):
    file = write(tmp_path / "r.jsonl", [run("random", 0.1, seed, 90.0 + seed) for seed in (0, 1)])
    assert paper.main(["table", str(file), "--seeds", "1"]) == 0
    assert cells(capsys.readouterr().out.split("\n\n")[0], "random", "10%")["accuracy %"] == "91.00"
    described = {"dataset": "mnist", "classes": 10, "train": 54000, "validation": 6000,
                 "test": 10000, "shape": [28, 28, 1]}  # fmt: skip
    append(tmp_path / "datasets.jsonl", described)
    assert "54,000 / 6,000 / 10,000" in table_of("table1", tmp_path, seeds=(0,))
