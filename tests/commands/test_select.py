"""`gradmatch-jax select`: every strategy that reads a pass, from file to file."""

import numpy as np
import pytest

from disks import filled, make_read_only, small_disk
from gradmatch_jax import Selector
from gradmatch_jax.commands import select
from gradmatch_jax.commands.select import SelectConfig, run, select_file
from gradmatch_jax.errors import Blocked, UserError
from gradmatch_jax.strategies import STRATEGIES
from refusals import refused
from toys import mostly_long

N, CLASSES, BUDGET = 60, 3, 12
RNG = np.random.default_rng(0)
READING = [name for name, entry in STRATEGIES.items() if entry.reads]


def passes(n=N):
    labels = RNG.integers(0, CLASSES, n)
    logits = RNG.normal(size=(n, CLASSES)).astype(np.float32)
    return logits, RNG.normal(size=(n, 4)).astype(np.float32), labels


@pytest.fixture
def file(tmp_path):
    logits, features, labels = passes()
    held = dict(zip(("logits", "features", "labels"), passes(24), strict=True))
    np.savez(
        tmp_path / "in.npz", logits=logits, features=features, labels=labels,
        gradient_norms=RNG.gamma(1.0, size=N).astype(np.float32),
        **{f"validation_{name}": value for name, value in held.items()},
    )  # fmt: skip
    return tmp_path / "in.npz"


@pytest.mark.thorough
@pytest.mark.parametrize("strategy", mostly_long(READING, "gradmatch-pb", "glister"))
def test_every_strategy_that_reads_a_pass(strategy, file, tmp_path):
    config = SelectConfig(
        strategy=strategy, input=file, fraction=0.2, out=tmp_path / "out.npz", seed=3
    )
    assert select_file(config)["size"] == 12
    found, given = np.load(config.out), np.load(file)
    assert len(np.unique(found["indices"])) == 12
    assert found["weights"].mean() == pytest.approx(1, abs=1e-5)
    if STRATEGIES[strategy].regime.scored:
        return
    held = (given["validation_logits"], given["validation_features"])
    selector = Selector(
        strategy, labels=given["labels"], fraction=0.2, seed=3,
        validation_labels=given["validation_labels"] if strategy == "glister" else None,
    )  # fmt: skip
    rows, weights = selector(
        0, lambda: (given["logits"], given["features"]), validation=lambda: held
    )
    np.testing.assert_array_equal(rows, found["indices"])
    np.testing.assert_array_equal(weights, found["weights"])


@pytest.mark.thorough
def test_regression_and_the_line_that_is_printed(tmp_path, capsys):
    _, features, _ = passes()
    outputs, numbers = RNG.normal(size=(N, 1)), RNG.normal(size=N)
    np.savez(tmp_path / "in.npz", logits=outputs, features=features, labels=numbers)
    config = SelectConfig(
        input=tmp_path / "in.npz", budget=7, out=tmp_path / "out.npz", loss="mse",
        compilation_cache="off",
    )  # fmt: skip
    run(config)
    assert "7 examples, 7 matched, matching error 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "per-class"}, "no strategy named"),
        ({"strategy": "forgetting"}, "by watching training"),
        ({"strategy": "random"}, "without a pass"),
        ({"greedy": "naive"}, "greedy does not apply to gradmatch"),
        ({"budget": 61}, "from 1 to 60"),
        ({"budget": 0}, "--budget must be"),
        ({"budget": 3, "fraction": 0.5}, "one of them"),
        ({"budget": None}, "one of them"),
    ],
)
def test_what_cannot_be(settings, message, file, tmp_path):
    config = SelectConfig(**{"input": file, "budget": 5, "out": tmp_path / "out.npz"} | settings)
    with pytest.raises(UserError, match=message):
        select_file(config)
    assert not config.out.exists()


def test_what_a_strategy_reads_beside_is_asked_for(tmp_path):
    logits, features, labels = passes()
    np.savez(tmp_path / "in.npz", logits=logits, features=features, labels=labels)
    for strategy, lacks in (
        ("glister", "lacks validation_logits, validation_features, validation_labels, which"),
        ("grand", "lacks gradient_norms"),
    ):
        config = SelectConfig(
            strategy=strategy, input=tmp_path / "in.npz", budget=5, out=tmp_path / "out.npz"
        )
        with pytest.raises(UserError, match=lacks):
            select_file(config)


def words(file, out):
    return "select", "--input", str(file), "--budget", "12", "--out", str(out)


@pytest.mark.thorough
def test_a_disk_that_is_full(file, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 100_000) as disk:
        config = SelectConfig(input=file, budget=BUDGET, out=disk / "out.npz")
        with filled(disk, 0), pytest.raises(Blocked, match=r"--out .*make space, then do the same"):
            select_file(config)
        assert list(disk.iterdir()) == [], "nothing is left of it"
        assert select_file(config)["size"] == BUDGET


def test_a_disk_that_cannot_be_written_to(file, tmp_path, monkeypatch, capsys):
    def touched(*args, **kwargs):
        raise AssertionError("too late: data are read here")

    monkeypatch.setattr(select, "read_arrays", touched)
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 100_000) as disk:
        make_read_only(disk)
        line = refused(monkeypatch, capsys, *words(file, disk / "out.npz"))
        assert "cannot be written to; name another place" in line
        assert f"--out {disk / 'run'}" in refused(
            monkeypatch, capsys, "train", "--out", str(disk / "run")
        )
        assert "name another place" in refused(
            monkeypatch, capsys, "compare", "--out", str(disk / "runs")
        )


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06" + bytes(18), bytes(1000)])
def test_an_input_that_is_no_npz(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "in.npz").write_bytes(content)
    line = refused(monkeypatch, capsys, *words(tmp_path / "in.npz", tmp_path / "out.npz"))
    assert "in.npz" in line
    assert not (tmp_path / "out.npz").exists()
