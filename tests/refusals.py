"""The command in this process, refused: the status, and the one line it leaves with."""

import json
import sys

import numpy as np
import pytest

from gradmatch_jax import cli


def refused(monkeypatch, capsys, *arguments):
    """The line that `gradmatch-jax` answers with."""
    monkeypatch.setattr(sys, "argv", ["gradmatch-jax", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("gradmatch-jax: ")
    assert "Traceback" not in out + err
    return err


RESULT = {"examples": 100, "train_seconds": 1.0, "selection_seconds": 0.5}


def run_folder(path, **files):
    path.mkdir(parents=True)
    for name, content in files.items():
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (path / f"{name}.json").write_bytes(text)


def set_traps(folder):
    """Files, folders and links that the command may be pointed at by mistake."""
    (folder / "file").write_text("mine")
    for name in ("full-of-things", "folder.npz"):
        (folder / name).mkdir()
        (folder / name / "mine").write_text("mine")
    np.savez(folder / "in.npz", labels=np.zeros(3, int))
    for link, to in (("dangling", "no/where"), ("dangling.npz", "no"), ("circle", "circle")):
        (folder / link).symlink_to(to)
    run_folder(folder / "another-run", config={"strategy": "random", "epochs": 99})
    run_folder(folder / "compared" / "digits" / "full-1-seed0", config={"strategy": "full"})
    run_folder(folder / "damaged-run", config=b"{")
    run_folder(folder / "bad-json", result=b"{" * 100_000)
    run_folder(folder / "not-utf8", result=b"\xff\xfe{}")
    run_folder(folder / "a-list", result=[1])
    run_folder(folder / "nan-seconds", result=RESULT | {"train_seconds": float("nan")})
    run_folder(folder / "negative", result=RESULT | {"selection_seconds": -1.0})
    run_folder(folder / "words-for-joules", result=RESULT | {"joules": "many"})
