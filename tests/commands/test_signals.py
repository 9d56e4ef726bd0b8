"""SIGINT and SIGTERM: answered in time, what is done is saved, no traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toys import LONG

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
}


def start(out, *more, under=()):
    command = (
        f"{sys.executable} -m gradmatch_jax.cli train --strategy random --model logistic "
        f"--fraction 0.02 --epochs 100000 --out {out}"
    )
    return subprocess.Popen(
        [*under, *command.split(), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


def epochs_in(out):
    log = out / "metrics.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def wait_for(process, reached):
    deadline = time.monotonic() + 240
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def ended(process):
    """The status, and what is said."""
    try:
        said, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "Traceback" not in said + error
    return process.returncode, error


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "status", "times"),
    [pytest.param(signal.SIGINT, 130, 2, marks=LONG), (signal.SIGTERM, 143, 1)],
)
def test_a_run_is_saved_and_can_go_on(tmp_path, number, status, times):
    out = tmp_path / "run"
    done = 0
    for _ in range(times):  # the next test goes on after a SIGTERM
        process = start(out, "--checkpoint-seconds", "9999")
        wait_for(process, lambda least=done + 20: epochs_in(out) > least)
        process.send_signal(number)
        code, error = ended(process)
        assert code == status, error
        assert "a second signal stops at once" in error
        assert error.count("\n") == 2
        saved = [int(p.name) for p in (out / "checkpoints").iterdir()]
        assert f"the first {max(saved)} epochs are saved in {out}: the same command" in error
        assert max(saved) == epochs_in(out) > done
        done = max(saved)


@pytest.mark.thorough
@LONG
def test_nothing_is_lost_under_a_scheduler_that_ends_it(tmp_path):
    """As `timeout` does, which is asked to end its job before its time is over."""
    if shutil.which("timeout") is None:
        pytest.skip("no command timeout here")
    out, done = tmp_path / "run", 0
    for _ in range(2):
        process = start(out, "--checkpoint-seconds", "9999", under=("timeout", "-s", "TERM", "600"))
        wait_for(process, lambda least=done + 20: epochs_in(out) > least)
        process.terminate()
        code, error = ended(process)
        assert code == 143, error
        saved = [int(p.name) for p in (out / "checkpoints").iterdir()]
        assert max(saved) == epochs_in(out) > done
        done = max(saved)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(done))


@pytest.mark.thorough
@LONG
def test_one_request_that_arrives_twice_is_one(tmp_path):
    """`timeout` and `uv run` pass a signal on to a process that had it from its group already."""
    out = tmp_path / "run"
    process = start(out, "--checkpoint-seconds", "9999")
    wait_for(process, lambda: epochs_in(out) > 20)
    for _ in range(5):  # some arrive while another waits, and are one for the kernel
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    code, error = ended(process)
    assert code == 143, error
    assert error.count("stopping as soon as it can be saved") == 1
    assert "stopped at once" not in error
    assert max(int(p.name) for p in (out / "checkpoints").iterdir()) == epochs_in(out) > 20


@pytest.mark.thorough
def test_before_anything_can_be_saved_it_leaves_at_once(tmp_path):
    process = start(tmp_path / "run")
    wait_for(process, (tmp_path / "run" / "config.json").exists)  # what follows reads and compiles
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    code, error = ended(process)
    assert (code, error) == (130, "gradmatch-jax: stopped; nothing had to be saved\n")
    assert time.monotonic() - sent < 5, "a second or two, and room for a busy machine"


@pytest.mark.thorough
@LONG
def test_a_second_process_says_so_and_leaves(tmp_path):
    out = tmp_path / "run"
    process = start(out)
    wait_for(process, lambda: epochs_in(out) > 5)
    code, error = ended(start(out))
    assert code == 2
    assert error == (
        f"gradmatch-jax: --out {out} is in use by process {process.pid}; wait for it, or name "
        "another folder\n"
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(len(lines)))


@pytest.mark.thorough
def test_what_cannot_be_interrupted_is_left_at_once():
    """As a compilation: one call that never returns to the interpreter."""
    script = """
import ctypes, sys
from gradmatch_jax.commands.signals import answered
with answered() as asked:
    if "heard" in sys.argv:
        asked()
    print("ready", flush=True)
    ctypes.CDLL(None).sleep(600)
    ctypes.CDLL(None).sleep(600)
"""
    for words, signals, code in (
        ([], [signal.SIGTERM], 143),
        (["heard"], [signal.SIGTERM, signal.SIGINT], 130),
    ):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *words], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        for number in signals:
            time.sleep(0.3)
            process.send_signal(number)
        assert ended(process)[0] == code


@pytest.mark.parametrize(
    ("after", "number", "stops"),
    [
        (0.9, signal.SIGTERM, False),
        (1.1, signal.SIGTERM, True),
        (0.1, signal.SIGINT, True),
    ],
)
def test_what_a_second_signal_is(monkeypatch, capsys, after, number, stops):
    from gradmatch_jax.commands import signals

    now, left = [100.0], []
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(signals.os, "_exit", left.append)
    asked = signals.Asked()
    assert not asked()
    asked.answer(signal.SIGTERM)
    now[0] += after
    asked.answer(number)
    assert asked.number == signal.SIGTERM
    assert left == ([128 + number] if stops else [])
    assert ("stopped at once" in capsys.readouterr().err) == stops


def test_handlers_are_as_before_but_for_one_that_came():
    """That one may come again while the command leaves."""
    from gradmatch_jax.commands.signals import answered

    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    with answered() as asked:
        assert not asked()
    assert [signal.getsignal(number) for number in numbers] == before
    try:
        with answered() as asked:
            assert not asked()
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 5
            while not asked() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert asked.number == signal.SIGTERM
        assert [signal.getsignal(number) for number in numbers] == [before[0], signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGTERM, before[1])
