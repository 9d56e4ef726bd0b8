"""One run of several processes by the command: its flags, its watch, and one that is killed."""

import functools
import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import jaxlib.version
import numpy as np
import pytest

from devices import environment, free_port
from gradmatch_jax.commands.distributed import LOST, Distributed, refuse_incomplete
from gradmatch_jax.commands.watch import Address, Watch
from gradmatch_jax.errors import UserError
from gradmatch_jax.training.checkpoints import Place, places
from gradmatch_jax.training.saved import load_run
from toys import LONG

EPOCHS = 8
COMMAND = [
    sys.executable, "-m", "gradmatch_jax.cli", "train", "--strategy", "gradmatch", "--fraction",
    "0.1", "--model", "mlp", "--batch-size", "16", "--epochs", str(EPOCHS), "--select-every", "3",
    "--checkpoint-seconds", "0",
]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"processes": 2}, "--processes needs --distributed"),
        ({"distributed": True, "processes": 2}, "--processes needs --coordinator too"),
        ({"coordinator": "a:1", "processes": 2, "process_id": 2}, "--process-id is 0 to 1"),
        ({"coordinator": "a", "processes": 2, "process_id": 1}, "must be HOST:PORT, not 'a'"),
    ],
)
def test_flags_that_cannot_be(flags, said):
    flags = flags if len(flags) < 3 else flags | {"distributed": True}
    with pytest.raises(UserError, match=said):
        refuse_incomplete(Distributed(**flags))
    refuse_incomplete(Distributed())
    refuse_incomplete(Distributed(distributed=True))
    refuse_incomplete(Distributed(True, "host:1", 2, 1))


class Watched:
    """Process 0's watch and those of two others, and whom each of them lost."""

    def __init__(self):
        self.lost, self.told = {}, [threading.Event() for _ in range(3)]
        self.watches = [Watch() for _ in range(3)]
        server, self.address = Watch.listen("localhost")
        self.watches[0].start(server, self.address, 2, self._note(0))
        for number in (1, 2):
            self.watches[number].join(self.address, number, self._note(number))

    def _note(self, who):
        def lost(other):
            self.lost.setdefault(who, []).append(other)
            self.told[who].set()

        return lost

    def end(self, number):
        """As its death would."""
        for connection in self.watches[number]._sockets:
            connection.shutdown(2)
            connection.close()


def test_a_watch_tells_whose_connection_ended():
    watched = Watched()
    watched.end(2)
    assert watched.told[0].wait(10)
    assert watched.lost[0] == [2]
    assert 1 not in watched.lost


def test_a_watch_is_still_where_all_ended_well():
    watched = Watched()
    for watch in watched.watches:
        watch.done()
    time.sleep(0.2)
    assert watched.lost == {}


def test_a_stranger_is_not_a_process():
    """Who does not know the word is let go, and the true one is still awaited."""
    lost, server_watch = [], Watch()
    server, address = Watch.listen("localhost")
    server_watch.start(server, address, 1, lost.append)
    stranger = Watch()
    stranger.join(Address("localhost", address.port, bytes(16)), 1, lambda other: None)
    true = Watch()
    true.join(address, 1, lost.append)
    deadline = time.monotonic() + 10
    while not server_watch._sockets and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server_watch._sockets) == 1
    assert lost == []


def start(out, processes, devices=2, more=()):
    """The command, in one process or several; each writes a log beside the folder."""
    port, children = free_port(), []
    for number in range(processes):
        own = ["--distributed", "--coordinator", f"localhost:{port}"]
        own += ["--processes", str(processes), "--process-id", str(number)]
        with log_of(out, number).open("w") as log:
            children.append(
                subprocess.Popen(
                    [*COMMAND, *more, "--out", str(out), *(own if processes > 1 else [])],
                    env=environment(devices),
                    stdout=log,
                    stderr=log,
                )
            )
    return children


def log_of(out, number):
    return out.parent / f"{out.name}.{number}.log"


def ended(children, seconds=600):
    try:
        return [child.wait(timeout=seconds) for child in children]
    finally:
        for child in children:
            child.kill()


def run(out, processes, devices=2, more=()):
    codes = ended(start(out, processes, devices, more))
    logs = "\n".join(log_of(out, i).read_text()[-2000:] for i in range(processes))
    assert codes == [0] * processes, logs


def answer(out):
    """Selections, and every array of the network."""
    with np.load(out / "selection.npz") as file:
        chosen = {name: file[name] for name in file.files}
    return chosen, load_run(out).parameters()


def same(found, wanted):
    np.testing.assert_array_equal(found[0]["history_indices"], wanted[0]["history_indices"])
    for name, value in wanted[1].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What runs of one process and one device came to, by what they were asked for more."""

    @functools.cache
    def answered(*more):
        out = tmp_path_factory.mktemp("undisturbed") / "run"
        run(out, 1, devices=1, more=more)
        return answer(out)

    return answered


def gone_on_with(out, processes, more=()):
    """A copy of a folder, its run gone on with to its end."""
    copy = shutil.copytree(out, out.parent / f"copy{processes}")
    run(copy, processes, devices=processes, more=more)
    return copy


# Whoever was lost, the checkpoint is the same kind, and so is who goes on: each in turn.
BOTH = [(1, 1), (0, 2), (0, 1), (1, 2)]


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize(("victim", "left"), BOTH)
def test_a_killed_process_ends_the_run_which_goes_on_with_two_or_one(
    tmp_path, undisturbed, victim, left
):
    out = tmp_path / "killed"
    children, deadline = start(out, 2), time.monotonic() + 600
    log = out / "metrics.jsonl"
    while time.monotonic() < deadline and all(child.poll() is None for child in children):
        if log.exists() and log.read_text().count("\n") >= 2:
            break
        time.sleep(0.01)
    children[victim].send_signal(signal.SIGKILL)
    codes = ended(children, 60)
    said = log_of(out, 1 - victim).read_text().splitlines()
    lines = [line for line in said if line.startswith("gradmatch-jax:")]
    assert codes[victim] == -signal.SIGKILL, "it ended before it was killed"
    # jaxlib 0.10 may be the first to see that its coordinator is gone, and aborts.
    aborted = victim == 0 and jaxlib.version.__version__.startswith("0.10.")
    if not (aborted and codes[1] == -signal.SIGABRT):
        assert codes[1 - victim] == LOST, said
        assert len(lines) == 1, said
        assert f"process {victim} of the run ended before its time" in lines[0]
    assert not any("Traceback" in line for line in said)
    folder = gone_on_with(out, left)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    same(answer(folder), undisturbed())


SHORT = 4
STEPS = ["--epochs", str(SHORT), "--select-every", "2", "--batch-size", "4"]  # 33 an epoch
SAVED = ["--checkpoint-steps", "4"]
WITHIN = {"killed": signal.SIGKILL, "asked": signal.SIGTERM}  # what comes to process 1


def place(out):
    """Of the last checkpoint."""
    try:
        return next(iter(places(out / "checkpoints")), Place(0))
    except FileNotFoundError:  # not yet, or an older one that was just removed
        return Place(0)


def left_within_an_epoch(out, number):
    """Signal process 1 once a checkpoint is within an epoch; that one, and how both ended."""
    children, saved = start(out, 2, more=[*STEPS, *SAVED]), Place(0)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and all(child.poll() is None for child in children):
        saved = place(out)
        if 0 < saved.step < 24:  # several more to come
            break
        time.sleep(0.002)
    children[1].send_signal(number)
    return saved, ended(children, 300)


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize(
    ("how", "left"), [("asked", 1), ("asked", 2), ("killed", 1), ("killed", 2)]
)
def test_two_processes_save_and_leave_at_the_same_step(tmp_path, undisturbed, how, left):
    """One is killed, or asked: both are gone, and two or one go on to the same end."""
    out, more = tmp_path / "left", [*STEPS, *SAVED]
    before, codes = left_within_an_epoch(out, WITHIN[how])
    assert codes == [LOST, -signal.SIGKILL if how == "killed" else 128 + signal.SIGTERM]
    said = [log_of(out, i).read_text() for i in range(2)]
    assert "Traceback" not in "".join(said)
    saved = place(out)
    assert saved.epoch == before.epoch
    assert before.step <= saved.step < 33
    assert saved.step % 4 == 0
    if how == "asked":
        assert f"step {saved.step}" in said[0], said
    folder = gone_on_with(out, left, more)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(SHORT))
    assert f"step {saved.step}" in log_of(folder, 0).read_text()
    same(answer(folder), undisturbed(*STEPS))
