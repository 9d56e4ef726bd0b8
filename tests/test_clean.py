"""The study of clean sets: what each arm is given, by rows and words; a rehearsal whole."""

import numpy as np
import pytest

from experiments.clean import __main__ as clean
from experiments.clean.cases import ALONE, ARMS, CASES, QUICK, Case
from experiments.clean.data import (
    CLEAN_AND_RANDOM,
    ROTATED,
    clean_and_random,
    known,
    mixed,
    sourced,
)
from experiments.records import read
from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.words import decode
from gradmatch_jax.strategies import STRATEGIES
from gradmatch_jax.strategies.strategy import Snapshot, Task
from gradmatch_jax.sweep import identity
from gradmatch_jax.training.build import load
from toys import LONG, key_list

SST2 = "label\ttext\n1\ta stirring film .\n0\tno film at all .\n0\tno stirring film .\n"
TREC = "label\ttext\nHUM\tWho was at all ?\nLOC\tWhere was it at ?\nHUM\tWho was it ?\n"


@pytest.fixture(autouse=True)
def strategies():
    """Those of the study are gone afterwards: other tests count the package's."""
    with known():
        yield
    assert CLEAN_AND_RANDOM not in STRATEGIES


def words(dataset, split):
    return [decode(row, dataset.vocabulary) for row in split.inputs]


@pytest.mark.parametrize("name", ["mnist-rare", "trec-sentences", "mnist-rotated"])
def test_what_is_left_and_added_is_what_the_data_have(name, shared_data):
    case = CASES[name]
    folder = shared_data / case.folder
    found = clean.planned(case, folder)[0]
    data = clean._data_of(case, {found.job.folder: found})(found.job)
    assert len(data.train) == pytest.approx(case.rest(found.size), rel=0.01)
    assert len(data.validation) == found.size


@pytest.mark.parametrize("case", [*CASES.values(), QUICK], ids=lambda case: case.name)
def test_runs_are_each_their_own_and_heed_what_their_arm_says(case: Case):
    found = clean.planned(case)
    assert len({each.job.folder for each in found}) == len(found)
    assert {each.arm.name for each in found} == {arm.name for arm in case.arms}
    assert {each.size for each in found if not each.arm.blind} == set(case.sizes)
    for each in found:
        told = identity(each.job.config)
        heeded = {name: told[name] for name in each.arm.settings}
        assert heeded == each.arm.settings
        assert round(told["validation_fraction"] * case.rows) == each.size
        for name in ("label_noise", "imbalance"):
            assert told[name] == case.settings.get(name, told[name])
        usual = case.epochs * case.fraction * case.rest(each.size)
        seen = (
            told["epochs"]
            * {
                "rest": case.rest(each.size) * told["fraction"],
                "both": (case.rest(each.size) + each.size) * told["fraction"],
                "clean": each.size,
            }[each.arm.source]
        )
        assert seen == pytest.approx(usual, abs=0.5 * each.size + 1), "examples seen"


def test_the_clean_set_is_clean_and_in_nothing_but_itself():
    """Of noise: its labels are the file's, and the rest's are the next class's where they are
    not."""
    config = clean.planned(QUICK)[0].job.config
    data = load(config)
    whole = load_dataset("digits", validation_fraction=config.validation_fraction, seed=config.seed)
    assert len(data.validation) == QUICK.sizes[0]
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(data, part).labels, getattr(whole, part).labels)
        np.testing.assert_array_equal(getattr(data, part).inputs, getattr(whole, part).inputs)
    turned = data.train.labels != whole.train.labels
    assert turned.mean() == pytest.approx(0.45, abs=0.01)
    np.testing.assert_array_equal(data.train.labels[turned], (whole.train.labels[turned] + 1) % 10)
    assert not np.isin(data.train.rows, data.validation.rows).any()
    alone, both = sourced(data, "clean"), sourced(data, "both")
    np.testing.assert_array_equal(alone.train.inputs, data.validation.inputs)
    np.testing.assert_array_equal(both.train.labels[-len(data.validation) :], alone.train.labels)
    assert len(both.train) == len(data.train) + len(data.validation)
    assert sourced(data, "rest") is data


def test_turned_pictures_are_turned_and_the_others_as_they_were():
    data = load_dataset("digits", validation_fraction=0.1)
    found = mixed(data, "rotated", None, 0)
    same = np.all(found.train.inputs == data.train.inputs, axis=(1, 2, 3))
    assert same.mean() == pytest.approx(1 - ROTATED, abs=0.01)
    back = np.rot90(np.asarray(found.train.inputs), -1, axes=(1, 2))
    assert np.all(np.all(back == data.train.inputs, axis=(1, 2, 3)) | same)
    assert found.validation is data.validation
    assert found.test is data.test
    other = mixed(data, "rotated", None, 1)
    assert np.any(other.train.inputs != found.train.inputs)


def test_sentences_among_questions_keep_their_words_and_get_classes_of_their_own(tmp_path):
    for name, text in (("sst2", SST2), ("trec", TREC)):
        for part in ("train", "test"):
            (tmp_path / f"{name}.{part}.tsv").write_text(text)
    data = load_dataset("tsv", tmp_path / "trec", validation_fraction=0.34)
    theirs = load_dataset("tsv", tmp_path / "sst2", validation_fraction=0.34)
    found = mixed(data, "sentences", tmp_path / "trec", 0)
    ours = len(data.train)
    assert words(found, found.train)[:ours] == words(data, data.train)
    said = set(words(theirs, theirs.train) + words(theirs, theirs.validation))
    assert set(words(found, found.train)[ours:]) == said
    assert any("film" in text for text in said)
    assert found.train.labels.tolist() == [*data.train.labels.tolist(), 3, 2, 2]
    assert found.class_names == ("HUM", "LOC", "sst2 0", "sst2 1")
    for part in ("validation", "test"):
        assert words(found, getattr(found, part)) == words(data, getattr(data, part))
        assert getattr(found, part).labels.tolist() == getattr(data, part).labels.tolist()


@pytest.mark.parametrize(("held", "budget", "clean_ones"), [(5, 20, 5), (30, 20, 10), (10, 7, 3)])
def test_clean_and_random_has_both_each_epoch(held, budget, clean_ones):
    task = Task(np.zeros(100, np.int32), 2, budget, np.zeros(held, np.int32))
    strategy = clean_and_random(task)
    found = []
    for key in key_list(0, 2):
        selection, _ = strategy.select(strategy.init(key), Snapshot(), key)
        rows = set(selection.indices.tolist())
        assert len(rows) == budget
        assert sum(row >= 100 - held for row in rows) == clean_ones
        assert np.all(np.asarray(selection.weights) == 1)
        found.append(rows)
    assert found[0] != found[1]


@LONG  # the judge's, which runs by the same sweep, is always there
@pytest.mark.thorough
def test_a_rehearsal_is_run_read_and_done(tmp_path, capsys):
    where = ["--results", str(tmp_path), "--quick"]
    run = ["run", *where, "--runs", str(tmp_path / "runs")]
    assert clean.main(run) == 0
    args = clean.Asked(quick=True, results=tmp_path)
    records, wanted = read(args.file(QUICK)), clean.planned(QUICK)
    assert len(records) == len(wanted)
    facts = {(record["arm"], record["clean_size"]): record for record in records}
    alone = facts[ALONE.name, QUICK.sizes[0]]
    assert alone["train_size"] == QUICK.sizes[0] == alone["clean_size"]
    assert alone["source"] == "clean"
    capsys.readouterr()
    assert clean.main(["table", *where]) == 0
    text = capsys.readouterr().out
    for row in clean.rows(args, QUICK):
        size = "any" if row.arm.blind else f"{row.size:,}"
        assert f"| {size} | {row.arm.name} | 1 of 1 | {row.runs[0]['test_accuracy']:.1f} " in text
    assert clean.main(run) == 0
    assert capsys.readouterr().out == "", "nothing is left to run"


def test_what_cannot_be(capsys, tmp_path):
    assert clean.main(["run", "--cases", "mnist-rare"]) == 2
    assert "--data-dir is missing" in capsys.readouterr().err
    assert clean.main(["table", "--cases", "mnist-rear"]) == 2
    assert "Did you mean 'mnist-rare'" in capsys.readouterr().err
    assert clean.main(["table", "--cases", "mnist-rare", "--results", str(tmp_path)]) == 0
    assert "Not measured." in capsys.readouterr().out
    assert clean.main(
        ["run", "--cases", "mnist-rare", "--data-dir", str(tmp_path), "--results", str(tmp_path)]
    ) == 0  # fmt: skip
    assert "left out" in capsys.readouterr().out


def test_arms_have_names_of_their_own():
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    for case in CASES.values():
        assert set(case.without) < {arm.name for arm in ARMS}
