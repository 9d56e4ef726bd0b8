"""A run's folder: what it refuses, what it takes up again, and what it writes."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.folder import RunFolder
from toys import toy


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty and holds no run; name another folder"):
        toy(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match="is a file; name a folder"):
        toy(file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"null", b"\xff"])
def test_a_damaged_configuration_is_told(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        toy(tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_other_fields_is_told(tmp_path):
    config = resolve(TrainConfig())
    folder = RunFolder(tmp_path / "run", config)
    folder.save(1, {"learner": np.zeros(3), "epoch": 1})
    with pytest.raises(UserError, match="another version's; give another --out"):
        folder.restore({"learner": np.zeros(3), "epoch": 0, "joules": 0.0})
    folder.close()


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    assert toy(tmp_path, epochs=1).summary == json.loads((tmp_path / "result.json").read_text())
    toy(tmp_path / "a" / "b", epochs=1)
    assert (tmp_path / "a" / "b" / "result.json").exists()


def test_a_run_killed_while_it_claimed_its_folder_can_be_started_again(tmp_path):
    (tmp_path / "config.json.tmp").write_text('{"dataset": "di')
    assert toy(tmp_path, epochs=1).summary["epochs"] == 1


def folder_with_log(path, epochs, saved):
    """A run's folder whose log is ahead of its checkpoint."""
    folder = RunFolder(path, resolve(TrainConfig()))
    for epoch in range(epochs):
        folder.log({"epoch": epoch, "test_accuracy": float("nan")})
        if epoch + 1 == saved:
            folder.save(saved, {"x": jnp.arange(3.0), "epoch": saved})
    return folder


@pytest.mark.parametrize("saved", [0, 2, 4])
def test_the_log_is_cut_to_the_checkpoint(tmp_path, saved):
    folder = folder_with_log(tmp_path / "run", 4, saved)
    log = tmp_path / "run" / "metrics.jsonl"
    with log.open("a") as file:
        file.write('{"epoch": 4, "test_acc')  # a line that a kill cut short
    assert [row["epoch"] for row in folder.read_log()] == [0, 1, 2, 3]
    restored = folder.restore({"x": jnp.zeros(3), "epoch": 0})
    folder.close()
    assert [row["epoch"] for row in folder.read_log()] == list(range(saved))
    assert log.read_text().count("\n") == saved
    if saved:
        assert restored is not None
        assert np.array_equal(restored["x"], [0, 1, 2])
        assert restored["epoch"] == saved
    else:
        assert restored is None
    folder.log({"epoch": saved})
    assert [row["epoch"] for row in folder.read_log()] == [*range(saved), saved]


def test_log_and_result_are_strict_json(tmp_path):
    folder = folder_with_log(tmp_path / "run", 1, 0)
    folder.finish({"error": [float("inf"), 1.0]}, np.arange(2), np.ones(2))
    folder.close()
    for name in ("metrics.jsonl", "result.json"):
        assert "NaN" not in (tmp_path / "run" / name).read_text()
        assert "Infinity" not in (tmp_path / "run" / name).read_text()
    assert folder.result == {"error": [None, 1.0]}
