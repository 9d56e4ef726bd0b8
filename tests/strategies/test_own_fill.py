"""`fill="own"`: steady for gradmatch on the training set, from the command to the weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import mnist
from experiments.judge import cases
from experiments.paper import studies
from experiments.paper.study import Asked
from experiments.runs import recorded
from gradmatch_jax import Selector
from gradmatch_jax.commands.select import SelectConfig
from gradmatch_jax.errors import UserError
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.strategies.registry import STRATEGIES, Entry
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.folder import RunFolder

N, CLASSES = 60, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, N)
# Of norms so unlike each other that under a large lam the match's own weights are worth a quarter.
FEATURES = RNG.normal(size=(N, 4)) * np.exp(2 * RNG.normal(size=(N, 1)))
LOGITS = RNG.normal(size=(N, CLASSES))
STEADY = {"gradmatch", "gradmatch-fresh"}


def chosen(strategy="gradmatch", *, validation=False, **settings):
    more = {"validation_labels": LABELS[:30], "validation_target": True} if validation else {}
    settings = {"lam": 1e3} | settings
    selector = Selector(strategy, budget=24, labels=LABELS, **more, **settings)
    held = {"validation": lambda: (LOGITS[:30], FEATURES[:30])} if validation else {}
    rows, weights = selector(0, lambda: (LOGITS, FEATURES), **held)
    return rows.tolist(), weights.tolist()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_records_what_own_stood_for(name):
    config = resolve(TrainConfig(strategy=name))
    wanted = "steady" if name in STEADY else "random"
    assert config.strategy_settings["options"].fill == wanted
    assert config.to_json().get("fill", wanted) == wanted
    assert ("fill" in config.to_json()) == name.startswith("gradmatch")


def test_a_loop_of_ones_own_weighs_as_a_run_does():
    assert chosen() == chosen(fill="steady") == chosen(fill="calibrated") != chosen(fill="random")
    assert chosen() == chosen(fill="own")
    even = chosen(lam=0.1)
    assert even == chosen(lam=0.1, fill="random") != chosen(lam=0.1, fill="calibrated")
    assert chosen("gradmatch-pb") == chosen("gradmatch-pb", fill="random")


def test_validation_data_are_matched_as_they_are():
    own = chosen(validation=True)
    plain, other = (chosen(validation=True, fill=fill) for fill in ("random", "calibrated"))
    assert own == plain != other
    asked = resolve(TrainConfig(validation_target=True, fill="calibrated"))
    assert asked.fill == "calibrated"
    assert resolve(TrainConfig(validation_target=True)).fill == "random"


def test_a_matching_problem_has_no_own():
    with pytest.raises(UserError, match=r"fill named 'own'; there are random, calibrated, steady"):
        select_subset(RNG.normal(size=(20, 5)), 5, fill="own")
    assert SelectConfig.__dataclass_fields__["fill"].default == "own"


def test_ones_own_strategy_has_the_plain_fill_unless_its_entry_says():
    def mine(task, *, options):
        del task, options

    for entry, wanted in (
        (Entry(mine, "epoch", "", ""), "random"),
        (Entry(mine, "epoch", "", "", fill="none"), "none"),
    ):
        config = resolve(TrainConfig(strategy="mine"), entry=entry)
        assert config.strategy_settings["options"].fill == wanted


def test_the_papers_rows_are_algorithm_ones():
    """Table 3's records are of the weights that matching gives, whatever our default."""
    for study in (studies.MNIST, studies.CIFAR10_SMALL, studies.MNIST_OFTEN):
        jobs = [job for job in study.jobs(Asked()) if job.config.strategy in STEADY]
        assert jobs
        assert {job.config.fill for job in jobs} == {"random"}
    (arm,) = [arm for arm in cases.ARMS if arm.name == "gradmatch-warm"]
    assert arm.settings["fill"] == "random"


@pytest.mark.parametrize("study", mnist.STUDIES)
def test_measurements_go_on_from_their_records(study):
    """The documented commands, without --fill, refuse no record as one of other settings."""
    results = Path(__file__).parents[2] / "results" / f"mnist_{study}.jsonl"
    found = [recorded(results, job) for job in mnist.jobs(mnist.Mnist(study=study))]
    assert sum(found) >= 15


def test_a_folder_of_a_version_without_a_fill_has_the_plain_one(tmp_path):
    for name, fill, goes_on in (("gradmatch-pb", "own", True), ("gradmatch", "own", False)):
        config = resolve(TrainConfig(strategy=name, fill=fill))
        folder = tmp_path / name
        folder.mkdir()
        settings = {k: v for k, v in config.to_json().items() if k != "fill"}
        (folder / "config.json").write_text(json.dumps(settings))
        if goes_on:
            RunFolder(folder, config)
        else:
            with pytest.raises(UserError, match=r"fill 'random' there, 'steady' here.*or give"):
                RunFolder(folder, config)
            RunFolder(folder, resolve(TrainConfig(strategy=name, fill="random")))
