"""A run's folder: what it refuses, what it takes up again, and what it writes."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import Blocked, UserError
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
    with opened(tmp_path / "run") as folder:
        folder.restore({})
        folder.save(1, {"learner": np.zeros(3), "epoch": 1})
        with pytest.raises(UserError, match="another version's; give another --out"):
            folder.restore({"learner": np.zeros(3), "epoch": 0, "joules": 0.0})


@pytest.mark.thorough
def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    assert toy(tmp_path, epochs=1).summary == json.loads((tmp_path / "result.json").read_text())
    toy(tmp_path / "a" / "b", epochs=1)
    assert (tmp_path / "a" / "b" / "result.json").exists()


def test_a_run_killed_while_it_claimed_its_folder_can_be_started_again(tmp_path):
    (tmp_path / "config.json.tmp").write_text('{"dataset": "di')
    assert toy(tmp_path, epochs=1).summary["epochs"] == 1


TEMPLATE = {"x": jnp.zeros(3), "epoch": 0}


@contextmanager
def opened(path):
    """A run's folder, for writing."""
    folder = RunFolder(path, resolve(TrainConfig()))
    with folder.held():
        yield folder


def write_epochs(path, epochs, saved):
    """Epochs in the log of a run's folder, with checkpoints after those in `saved`."""
    with opened(path) as folder:
        folder.restore(TEMPLATE)
        for epoch in range(epochs):
            folder.select(epoch, np.array([epoch, 7]), np.array([0.5, 1.5], np.float32))
            folder.log({"epoch": epoch, "test_accuracy": float("nan")})
            if epoch + 1 in saved:
                folder.save(epoch + 1, {"x": jnp.arange(3.0) + epoch, "epoch": epoch + 1})


def taken_up(path):
    """What a process that takes up the folder finds: its state, its log, what it says."""
    with opened(path) as folder:
        state = folder.restore(TEMPLATE)
        return state, [row["epoch"] for row in folder.read_log()], folder.notes


def kept(path):
    return sorted(p.name for p in (path / "checkpoints").iterdir())


@pytest.mark.parametrize("saved", [0, 2, 4])
def test_the_log_is_cut_to_the_checkpoint(tmp_path, saved):
    write_epochs(tmp_path, 4, [saved])
    log = tmp_path / "metrics.jsonl"
    with log.open("a") as file:
        file.write('{"epoch": 4, "test_acc')  # a line that a kill cut short
    state, epochs, notes = taken_up(tmp_path)
    assert epochs == list(range(saved))
    assert log.read_text().count("\n") == saved
    assert (tmp_path / "selections.bin").stat().st_size == 2 * saved * 16
    assert notes == []
    assert (state is None) == (saved == 0)
    if state is not None:
        assert np.array_equal(state["x"], np.arange(3.0) + saved - 1)
        assert state["epoch"] == saved


def drop_first(file):
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))


def double_last(file):
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")


def other_count(file):
    file.write_text(file.read_text().replace('"epoch": 1', '"epoch": 11'))


@pytest.mark.parametrize(
    "damage",
    [drop_first, double_last, other_count, Path.unlink, lambda file: file.write_bytes(b"\xff")],
)
def test_a_damaged_log_is_mended_from_the_checkpoint(tmp_path, damage):
    write_epochs(tmp_path, 3, [3])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    damage(tmp_path / "metrics.jsonl")
    assert taken_up(tmp_path)[1] == [0, 1, 2]
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_two_checkpoints_are_kept(tmp_path):
    write_epochs(tmp_path, 5, [1, 2, 3, 5])
    assert kept(tmp_path) == ["3", "5"]


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def flip(file, place=0.5):
    """One bit of a file, the other way."""
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    file.write_bytes(bytes(content))


def test_one_flipped_bit_is_noticed_and_the_older_checkpoint_taken(tmp_path):
    """In every file of the newer one that is not empty, the seal's own among them."""
    write_epochs(tmp_path / "run", 5, [3, 5])
    names = [p.relative_to(tmp_path / "run") for p in files_of(tmp_path / "run/checkpoints/5")]
    assert any("ocdbt" in str(name) for name in names)
    for i, name in enumerate(names):
        copy = tmp_path / str(i)
        shutil.copytree(tmp_path / "run", copy)
        if (copy / name).stat().st_size == 0:
            continue
        flip(copy / name)
        state, epochs, notes = taken_up(copy)
        assert state is not None, name
        assert (state["epoch"], epochs) == (3, [0, 1, 2]), name
        assert "5 is damaged" in notes[0], name
        assert "going on from epoch 3" in notes[0], name
        assert kept(copy) == ["3"], name


def test_where_every_checkpoint_is_damaged_it_is_said(tmp_path):
    write_epochs(tmp_path, 5, [3, 5])
    for step in (3, 5):
        flip(tmp_path / f"checkpoints/{step}/log.jsonl")
    with pytest.raises(
        UserError, match=r"5 is damaged \(log.jsonl was changed\).*3 is damaged"
    ) as e:
        taken_up(tmp_path)
    assert "\n" not in str(e.value)
    assert kept(tmp_path) == ["3", "5"], "nothing is removed"


def test_damaged_selections_are_told_apart_by_what_relies_on_them(tmp_path):
    write_epochs(tmp_path, 5, [3, 5])
    flip(tmp_path / "selections.bin", 0.9)  # after the older checkpoint
    state, _, notes = taken_up(tmp_path)
    assert state is not None
    assert state["epoch"] == 3
    assert "selections.bin was changed" in notes[0]


def test_an_empty_newer_folder_and_leftovers_are_no_obstacle(tmp_path):
    write_epochs(tmp_path, 3, [2])
    (tmp_path / "checkpoints/7").mkdir()
    (tmp_path / "checkpoints/9.tmp/state").mkdir(parents=True)
    (tmp_path / "checkpoints/8.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "result.json.tmp").write_text("{")
    state, _, notes = taken_up(tmp_path)
    assert state is not None
    assert (state["epoch"], notes, kept(tmp_path)) == (2, [], ["2"])
    assert not list(tmp_path.glob("*.tmp"))


def test_log_and_result_are_strict_json(tmp_path):
    write_epochs(tmp_path, 1, [])
    with opened(tmp_path) as folder:
        folder.finish({"error": [float("inf"), 1.0]}, (np.arange(2), np.ones(2)), {})
        assert folder.result == {"error": [None, 1.0]}
    for name in ("metrics.jsonl", "result.json"):
        assert "NaN" not in (tmp_path / name).read_text()
        assert "Infinity" not in (tmp_path / name).read_text()


def test_one_folder_one_process(tmp_path):
    with (
        opened(tmp_path / "run"),
        pytest.raises(Blocked, match=f"in use by process {os.getpid()}; wait"),
        opened(tmp_path / "run"),
    ):
        pass
    (tmp_path / "run" / ".lock").write_text("999999\n")  # of a process that died
    with opened(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("/proc/run", "--out /proc/run: No such file or directory; "),
        ("a" * 300, "File name too long; name a shorter one"),
        ("link", "a link that leads nowhere is in the way"),
        ("file/run", "--out"),
    ],
)
def test_what_the_system_refuses_is_one_line(tmp_path, out, said):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at-all")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError) as error:
        toy(tmp_path / out)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_more_epochs_are_another_run(tmp_path):
    toy(tmp_path, epochs=1)
    with pytest.raises(UserError, match="1 epochs, and its learning rate's cosine falls to 0"):
        toy(tmp_path, epochs=2)


def test_a_setting_that_a_later_version_adds_is_no_other_run(tmp_path):
    toy(tmp_path, epochs=1)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["momentum"], config["data"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    notes = []
    assert toy(tmp_path, epochs=1, on_note=notes.append).summary["epochs"] == 1
    assert "already finished; nothing is run again" in notes[-1]
