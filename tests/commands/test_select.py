"""`gradmatch-jax select`: what it writes, and disks that it cannot write to."""

import numpy as np
import pytest

from disks import filled, make_read_only, small_disk
from gradmatch_jax import last_layer_gradients, select_batches, select_subset
from gradmatch_jax.commands import select
from gradmatch_jax.commands.select import SelectConfig, select_file
from gradmatch_jax.errors import Blocked
from refusals import refused

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 4
LOGITS = RNG.normal(size=(40, 4)).astype(np.float32)
FEATURES = RNG.normal(size=(40, 3)).astype(np.float32)
BUDGET = 12


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.npz"
    np.savez(path, logits=LOGITS, features=FEATURES, labels=LABELS)
    return path


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("per-class", lambda g, k: select_subset(g, k, labels=LABELS, key=3)),
        pytest.param(
            "per-gradient",
            lambda g, k: select_subset(g, k, labels=LABELS, approximation="per_gradient", key=3),
            marks=pytest.mark.thorough,
        ),
        pytest.param("whole", lambda g, k: select_subset(g, k, key=3), marks=pytest.mark.thorough),
        pytest.param(
            "per-batch", lambda g, k: select_batches(g, k, 5, key=3), marks=pytest.mark.thorough
        ),
    ],
)
def test_it_writes_what_the_functions_select(file, tmp_path, method, expected):
    own = {"batch_size": 5} if method == "per-batch" else {}
    out = tmp_path / "out.npz"
    facts = select_file(
        SelectConfig(input=file, budget=BUDGET, out=out, method=method, seed=3, **own)
    )
    wanted = expected(last_layer_gradients(LOGITS, FEATURES, LABELS), BUDGET)
    with np.load(out, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["indices"], wanted.indices)
        weights = np.asarray(wanted.weights)
        np.testing.assert_allclose(stored["weights"], weights / weights.mean(), rtol=1e-6)
        assert stored["size"] == facts["size"] == BUDGET
        assert float(stored["matching_error"]) == pytest.approx(float(wanted.matching_error))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz", "out.npz"]


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
