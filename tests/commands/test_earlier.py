"""`--config`: a run's own configuration, or a comparison's, as a command line."""

import dataclasses
import json
import re
import sys

import pytest

from gradmatch_jax import TrainConfig, cli
from gradmatch_jax.commands.compare import CompareConfig, plan_runs
from gradmatch_jax.commands.compare import run as compare_command
from gradmatch_jax.commands.earlier import expanded
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.config import resolve

RUN = TrainConfig(
    strategy="gradmatch", fraction=0.2, warm=True, lam=0.25, augment=False, epochs=7, seed=4
)


def after(words, flag):
    return words[words.index(flag) + 1]


@pytest.fixture
def folder(tmp_path):
    """Of a run: its settings, and what it was given."""
    facts = {"data": {"a": "b"}}
    (tmp_path / "config.json").write_text(json.dumps(resolve(RUN).to_json() | facts))
    return tmp_path


def test_train_takes_it_and_overrides_it(folder):
    words = expanded(["train", f"--config={folder}", "--lr", "0.5"])
    assert words[-2:] == ["--lr", "0.5"]
    assert words.count("--lr") == 1
    assert {"--warm", "--no-augment"} <= set(words)
    assert after(words, "--lam") == "0.25"
    other = expanded(["train", "--config", str(folder), "--strategy", "random"])
    assert "--lam" not in other
    assert after(other, "--fraction") == "0.2"


def test_a_strategys_own_fill_is_not_anothers(folder):
    for more in ([], ["--strategy", "gradmatch-pb"], ["--validation-target"]):
        words = expanded(["train", "--config", str(folder), *more])
        assert after(words, "--fill") == "own"
    asked = resolve(dataclasses.replace(RUN, fill="random")).to_json()
    (folder / "config.json").write_text(json.dumps(asked))
    assert after(expanded(["train", "--config", str(folder)]), "--fill") == "random"


def test_paths_come_back(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"strategy": "full-earlystop", "data_dir": "some/where", "like": "runs/a", "lr": 1}'
    )
    words = expanded(["train", "--config", str(tmp_path)])
    assert (after(words, "--data-dir"), after(words, "--like")) == ("some/where", "runs/a")
    assert float(after(words, "--lr")) == 1


def parsed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *map(str, words)])
    return cli._parse()


def test_compare_takes_what_its_runs_share(folder, monkeypatch):
    found = parsed(monkeypatch, "compare", "--config", folder, "--seeds", 1, 2)
    assert (found.epochs, found.lam, found.augment) == (7, 0.25, False)
    assert found.strategies == CompareConfig.strategies
    assert found.fractions == CompareConfig.fractions
    assert found.seeds == (1, 2)
    assert not found.warm, "which a comparison's strategies say by their names"
    runs = {job.label: job.config for job in plan_runs(found)}
    assert runs["gradmatch"].lam == 0.25
    other = parsed(monkeypatch, "compare", "--config", folder, "--strategies", "random")
    assert (other.lam, other.epochs) == (CompareConfig.lam, 7), "lam applies to none"
    assert plan_runs(other)


@pytest.mark.thorough
def test_compare_takes_an_earlier_comparison_on(tmp_path, monkeypatch):
    from rich.console import Console

    config = CompareConfig(
        strategies=("random",), fractions=(0.5,), seeds=(0,), epochs=1, model="logistic", lr=0.02,
        out=tmp_path,
    )  # fmt: skip
    compare_command(config, Console(quiet=True))
    record = tmp_path / "digits" / "compare.json"
    for where in (record, record.parent):
        words = ("compare", "--config", where, "--seeds", 0, 1, "--out", tmp_path)
        found = parsed(monkeypatch, *words)
        assert (found.strategies, found.fractions, found.seeds) == (("random",), (0.5,), (0, 1))
        assert (found.epochs, found.model, found.lr) == (1, "logistic", 0.02)
        known = [job.settings for job in plan_runs(config)]
        assert [job.settings for job in plan_runs(found)][: len(known)] == known
    compare_command(found, Console(quiet=True))
    text = re.sub("<[^>]*>", "", (record.parent / "report.html").read_text(encoding="utf-8"))
    assert "--lr 0.02" in text
    assert "--config" not in text, "its settings are written out"


NO_RUN = r"is no config\.json of a run"
STRANGE = [
    ("no.json", None, NO_RUN),
    ("folder", None, NO_RUN),
    ("a.json", "[1]", NO_RUN),
    ("a.json", "{", NO_RUN),
    ("a.json", '{"name": "package"}', NO_RUN),
    ("a.json", '{"strategy": "random", "learning_rate": 1}', "no setting named 'learning_rate'"),
    ("a.json", '{"strategy": "random", "lr": -1}', "--lr must be above 0"),
    ("a.json", '{"strategy": "random", "lr": [0.1]}', "--lr must be"),
    ("a.json", '{"strategy": 5}', "--strategy must be"),
    ("result.json", '{"strategy": "random", "test_accuracy": 5}', "no setting named 'test_acc"),
    (
        "compare.json",
        '{"settings": {"strategies": "x", "fractions": [], "seeds": []}}',
        f"--strategies must be a list|{NO_RUN}",
    ),
    ("compare.json", '{"settings": {"lr": 1}}', f"is no whole compare.json|{NO_RUN}"),
]


@pytest.mark.parametrize("name", ["train", "compare"])
@pytest.mark.parametrize(("file", "content", "said"), STRANGE)
def test_a_strange_file_is_refused_by_name(name, file, content, said, tmp_path):
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=rf"\A--config [^\n]*{file}[^\n]*({said})[^\n]*\Z"):
        expanded([name, "--config", str(tmp_path / file)])


def test_what_is_left_to_the_parser(folder):
    for words in (["select", "--config", "x"], ["train", "--config"], ["runs", "--config", "x"]):
        assert expanded(words) == words
    unfinished = ["train", "--config", str(folder), "--strategy"]
    assert expanded(unfinished)[-1] == "--strategy"
    with pytest.raises(UserError, match="no strategy named 'gradmach'"):
        expanded(["train", "--config", str(folder), "--strategy", "gradmach"])
    twice = ["train", "--config", "nothing.json", "--config", str(folder)]
    assert after(expanded(twice), "--lam") == "0.25", "the last one counts, as of any flag"
