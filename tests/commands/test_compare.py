"""The comparison: its plan, what it repeats and what it does not, and the files it writes."""

import dataclasses
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gradmatch_jax.commands.compare import CompareConfig, compare, galleries, plan_runs, run
from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import Diverged, UserError
from gradmatch_jax.report.summary import summarise
from gradmatch_jax.training import build, loop
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.records import CompareRecord, mismatches


def small(out: Path, **changes) -> CompareConfig:
    defaults = {
        "strategies": ("random", "gradmatch-warm"),
        "fractions": (0.1,),
        "seeds": (0, 1),
        "epochs": 3,
        "eval_every": 1,
    }
    return CompareConfig(out=out, **(defaults | changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished comparison: its settings, its runs and the progress it reported."""
    config = small(tmp_path_factory.mktemp("compare") / "out")
    seen = []
    return config, compare(config, seen.append), seen


@pytest.fixture
def no_training(monkeypatch):
    """Fail if anything is trained or any data read."""

    def refuse(*args, **kwargs):
        raise AssertionError("nothing may run or be read here")

    monkeypatch.setattr(loop, "train", refuse)
    monkeypatch.setattr(build, "load", refuse)


def test_importing_it_loads_no_jax():
    code = "import sys, gradmatch_jax.commands.compare as c; c.CompareConfig(); "
    code += "print([m for m in ('jax', 'flax', 'matplotlib') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


def test_shared_settings_mean_the_same_by_default():
    train = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
    for field in dataclasses.fields(CompareConfig):
        if field.name in train and field.name != "eval_every":
            assert field.default == train[field.name], field.name


def test_every_run_is_planned_once_and_full_first(tmp_path):
    config = small(
        tmp_path,
        strategies=("random", "full", "full-warm", "random", "gradmatch", "gradmatch-warm"),
        fractions=(0.05, 0.1, 0.05),
    )
    names = [job.folder.relative_to(tmp_path).as_posix() for job in plan_runs(config)]
    one = [
        f"digits/{name}-{fraction}-seed0"
        for name in ("random", "gradmatch", "gradmatch-warm")
        for fraction in ("0.05", "0.1")
    ]
    one = ["digits/full-1-seed0", *one]
    assert names == one + [name.replace("seed0", "seed1") for name in one]


def test_settings_reach_every_run(tmp_path):
    config = small(tmp_path, lr=0.3, lam=0.7, batch_size=7, select_every=2, eval_every=4)
    for job in plan_runs(config):
        c = job.config
        assert (c.lr, c.batch_size, c.eval_every) == (0.3, 7, 4)
        ours = (0.7, 2) if c.strategy == "gradmatch" else (0.5, 20)
        assert (c.lam, c.select_every) == ours, "left out where they do not apply"
        assert (c.epochs, c.model, c.dataset) == (3, "mlp", "digits")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ("random", "gradmach")}, "gradmatch"),
        ({"strategies": ()}, "strategies"),
        ({"fractions": (0.1, 1.5)}, "fraction"),
        ({"fractions": (0.1, float("nan"))}, "fraction"),
        ({"fractions": (0.0,), "strategies": ("full",)}, "fraction"),
        ({"fractions": ()}, "fractions"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (0, -1)}, "seed"),
        ({"dataset": "digit"}, "digits"),
        ({"model": "lenett"}, "lenet"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(tmp_path, no_training, changes, message):
    with pytest.raises(UserError, match=message):
        compare(small(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_refused_before_anything_runs(tmp_path, no_training):
    config = small(tmp_path)
    last = plan_runs(config)[-1].folder
    last.mkdir(parents=True)
    (last / "config.json").write_text(json.dumps({"strategy": "random", "epochs": 99}))
    with pytest.raises(UserError, match="another configuration"):
        compare(config)
    assert [p.name for p in (tmp_path / "digits").iterdir()] == [last.name]


@pytest.mark.thorough
def test_runs_are_what_their_folders_say(done):
    config, rows, _ = done
    assert len(rows) == 2 * 3
    for job, row in zip(plan_runs(config), rows, strict=True):
        stored = json.loads((job.folder / "result.json").read_text())
        assert {k: row[k] for k in stored} == stored
        lines = (job.folder / "metrics.jsonl").read_text().splitlines()
        assert row["log"] == [json.loads(line) for line in lines]
        assert row["log"][-1]["test_accuracy"] == row["test_accuracy"]
        assert (row["seed"], row["warm"]) == (job.config.seed, job.config.warm)
    json.dumps(rows, allow_nan=False)


@pytest.mark.thorough
def test_runs_are_apart_where_they_should_be(done):
    _, rows, _ = done
    first = {(r["strategy"], r["seed"]): r["log"][0]["train_loss"] for r in rows}
    last = {r["log"][-1]["train_loss"] for r in rows}
    assert len(last) == len(rows)
    for seed in (0, 1):  # a warm start begins as full training does
        assert first["gradmatch", seed] == first["full", seed] != first["random", seed]


@pytest.mark.thorough
def test_progress_counts_up_to_the_end(done):
    _, rows, seen = done
    assert [p.run for p in seen] == sorted(p.run for p in seen)
    assert seen[-1].run == seen[-1].runs == len(rows)
    assert max(p.epoch for p in seen if p.run == 0) == 3


@pytest.mark.thorough
def test_finished_runs_are_read_back(done, no_training):
    config, rows, _ = done
    assert compare(config) == rows


@pytest.mark.thorough
def test_an_unfinished_run_alone_is_resumed(done, monkeypatch):
    config, rows, _ = done
    folder = plan_runs(config)[-1].folder
    (folder / "result.json").unlink()
    trained = []
    original = loop.train

    def spy(settings, out, **kwargs):
        trained.append(out)
        return original(settings, out, **kwargs)

    monkeypatch.setattr(loop, "train", spy)
    assert compare(config) == rows
    assert trained == [folder]


@pytest.mark.thorough
def test_galleries_show_what_was_selected(done):
    config, rows, _ = done
    shown = galleries(config, rows)
    assert [g.label for g in shown] == ["random", "gradmatch-warm"]
    train = load_dataset("digits", seed=0).train
    for gallery, row in zip(shown, rows[1:3], strict=True):
        stored = np.load(Path(row["folder"]) / "selection.npz")
        heaviest = stored["indices"][np.argsort(-stored["weights"], kind="stable")][:40]
        heaviest = train.positions(heaviest)  # the file has the user's own row numbers
        np.testing.assert_array_equal(gallery.images, train.take(heaviest))
        assert gallery.classes == tuple(str(c) for c in train.labels[heaviest])
        np.testing.assert_allclose(gallery.weights.mean(), 1, rtol=1e-5)
        assert len(gallery.weights) == row["subset_size"]


@pytest.mark.thorough
def test_the_command_writes_its_files(done, no_training, monkeypatch):
    config, rows, _ = done
    # The galleries read the data.
    monkeypatch.setattr(build, "load", lambda c: load_dataset(c.dataset, seed=c.seed))
    console = Console(file=io.StringIO(), width=160)
    run(config, console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    stored = json.loads((config.out / "digits" / "compare.json").read_text())
    assert mismatches(stored, CompareRecord, "compare.json") == []
    table = summarise(rows)
    assert [row["label"] for row in stored["rows"]] == [row.label for row in table]
    assert stored["rows"][1]["accuracy"] == table[1].accuracy
    assert stored["settings"]["seeds"] == [0, 1]
    assert stored["settings"]["batch_size"] == 20
    assert len(stored["runs"]) == len(rows)
    text = (config.out / "digits" / "compare.md").read_text(encoding="utf-8")
    html = (config.out / "digits" / "report.html").read_text(encoding="utf-8")
    HTMLParser().feed(html)
    for row in table:
        for written in (printed, text, html):
            assert row.label in written
            assert f"{row.accuracy:.2f} ± {row.accuracy_std:.2f}" in written
    assert rows[0]["device"] in text


def test_a_run_that_selects_nothing_has_no_gallery(tmp_path):
    config = CompareConfig(
        strategies=("full-earlystop",), fractions=(0.3,), seeds=(0,), epochs=3,
        out=tmp_path,
    )  # fmt: skip
    assert galleries(config, compare(config)) == []


@pytest.mark.thorough
def test_a_run_that_diverges_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    config = small(tmp_path, strategies=("random",), fractions=(0.1, 0.5), seeds=(0,))
    original, tried = loop.train, []

    def sometimes(settings, out, **kwargs):
        def diverge(row, total):
            raise Diverged("the training loss is nan in epoch 1: lower --lr")

        tried.append(out.name)
        on_epoch = diverge if settings.fraction == 0.1 else kwargs["on_epoch"]
        return original(settings, out, **(kwargs | {"on_epoch": on_epoch}))

    monkeypatch.setattr(loop, "train", sometimes)
    for _ in range(2):
        console = Console(file=io.StringIO(), width=160)
        run(config, console)
        assert isinstance(console.file, io.StringIO)
        printed = " ".join(console.file.getvalue().split())
        text = (config.out / "digits" / "compare.md").read_text(encoding="utf-8")
        html = (config.out / "digits" / "report.html").read_text(encoding="utf-8")
        for said in (printed, text, html):
            assert "random on 10 %: seed 0 diverged in epoch 1: the training loss is nan" in said
        assert "| random | 10 % | 0 of 1 | diverged | – |" in text
        assert "| random | 50 % | 1 | " in text
        stored = json.loads((config.out / "digits" / "compare.json").read_text())
        assert mismatches(stored, CompareRecord, "compare.json") == []
    assert tried == ["full-1-seed0", "random-0.1-seed0", "random-0.5-seed0"], "each once"


def test_nothing_is_left_where_full_training_diverges(tmp_path):
    config = small(tmp_path, strategies=("random",), seeds=(0,), lr=1e30)
    rows = compare(config)
    assert [row["failed"]["kind"] for row in rows] == ["diverged", "diverged"]
    console = Console(file=io.StringIO(), width=160)
    run(config, console)
    html = (config.out / "digits" / "report.html").read_text(encoding="utf-8")
    assert "Full training came to nothing" in html
    assert "svg" not in html.split("</style>")[1]


@pytest.mark.parametrize(
    ("settings", "flag"),
    [({"lam": 0.1}, "--lam"), ({"pool": 0.5}, "--pool"), ({"kappa": 0.2}, "--kappa")],
)
def test_a_setting_that_no_strategy_has(settings, flag):
    config = CompareConfig(strategies=("random",), **settings)
    with pytest.raises(UserError, match=f"{flag} applies to none"):
        plan_runs(config)
    both = dataclasses.replace(config, strategies=("random", "gradmatch-warm"))
    written = {job.label: job.config.to_json() for job in plan_runs(both)}
    assert next(iter(settings)) in written["gradmatch-warm"]
    assert next(iter(settings)) not in written["random"] | written["full"]
