"""`train --distributed`: one run of several processes, here or on several hosts."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, NoReturn

from gradmatch_jax.commands.signals import status
from gradmatch_jax.commands.watch import Address, Watch
from gradmatch_jax.errors import Stopped, UserError, blocked, on_one_line
from gradmatch_jax.inputs.values import COUNT, Range

LOST = 75  # exit status: the run can be taken up again (EX_TEMPFAIL)
GRACE_SECONDS = 10.0  # for the watch to say what a collective failed of
OWN_SECONDS = 2.0  # for a process to say itself what ended another as well: a loss that is nan, say


@dataclass(frozen=True)
class Distributed:
    """Which processes make one run."""

    distributed: bool = False
    """One of several processes of one run, each started with the same command (docs/scale.md)."""
    coordinator: str | None = None
    """HOST:PORT of process 0, any free port. None: as Slurm, Open MPI, Kubernetes or a TPU says."""
    processes: Annotated[int | None, COUNT] = None
    """How many there are. None: likewise."""
    process_id: Annotated[int | None, Range(0)] = None
    """Which of them this is, from 0. None: likewise."""


def refuse_incomplete(join: Distributed) -> None:
    """Bad flags are told before JAX waits for anyone.

    Raises:
        UserError: flags without --distributed, some of them without the others, a process that is
            none of them.
    """
    given = {
        "--coordinator": join.coordinator,
        "--processes": join.processes,
        "--process-id": join.process_id,
    }
    named = [flag for flag, value in given.items() if value is not None]
    if named and not join.distributed:
        raise UserError(f"{named[0]} needs --distributed; add that or leave it out")
    if named and len(named) < len(given):
        missing = next(flag for flag in given if flag not in named)
        raise UserError(f"{named[0]} needs {missing} too: give all three, or none under Slurm")
    if join.processes is not None and join.process_id is not None:
        if join.process_id >= join.processes:
            raise UserError(f"--process-id is 0 to {join.processes - 1}, not {join.process_id}")
        host, _, port = str(join.coordinator).rpartition(":")
        if not host or not port.isdecimal():
            raise UserError(f"--coordinator must be HOST:PORT, not {join.coordinator!r}")


@contextmanager
def together(join: Distributed, kept: bool, signal: Callable[[], int]) -> Iterator[None]:
    """The block as one of the processes; whatever ends one of them ends all, with a line.

    A process that ends badly leaves at once, for to wait for the others would be for ever.

    Args:
        join: which of them; nothing happens unless it says distributed.
        kept: whether the run has a folder.
        signal: the number of the one that came, where one did.
    """
    if not join.distributed:
        yield
        return
    number = _start(join)
    watch, again = Watch(), "the same command on any number of processes goes on from there"
    where = f"its checkpoints are kept, and {again}" if kept else "nothing is kept without --out"

    def lost(other: int) -> None:
        if other:  # without process 0 there is no coordinator, and JAX would abort: at once
            time.sleep(OWN_SECONDS)
        _leave(LOST, f"process {other} of the run ended before its time; {where}", number)

    _connect(watch, join, number, lost)
    import jax

    try:
        yield
    except Stopped as error:  # all of them; the first may still be saving
        watch.done()
        said = "stopped, as all of its processes" if number else str(error)
        _leave(status(signal()) if signal() else LOST, said, number)
    except UserError as error:
        _leave(2, str(error), number)
    except OSError as error:
        _leave(2, str(blocked(error.filename or "a file", error)), number)
    except jax.errors.JaxRuntimeError as error:  # of a collective, as a rule
        time.sleep(GRACE_SECONDS)
        _leave(LOST, f"{str(error)[:200]}; {where}", number)
    watch.done()
    jax.distributed.shutdown()


_leaving = threading.Lock()


def _leave(code: int, line: str, number: int) -> NoReturn:
    """End this process with a line, and without a word to the others but its end."""
    _leaving.acquire()  # never released: the first to come has the word
    which = f"process {number}: " if number else ""
    sys.stdout.flush()
    sys.stderr.write(f"gradmatch-jax: {which}{on_one_line(line)}\n")
    sys.stderr.flush()
    os._exit(code)


def _start(join: Distributed) -> int:
    """Join the others; the number of this process.

    Raises:
        UserError: nothing says who they are, or they were not met.
    """
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM for itself, and nobody would hear that the run is to stop.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(join.coordinator, join.processes, join.process_id)
    except ValueError as error:
        raise UserError(
            "--distributed: nothing here says who the processes are; give --coordinator "
            f"HOST:PORT, --processes and --process-id ({str(error)[:100]})"
        ) from error
    except RuntimeError as error:
        raise UserError(f"--distributed: the processes did not meet: {str(error)[:200]}") from error
    return jax.process_index()


def _connect(watch: Watch, join: Distributed, number: int, lost: Callable[[int], None]) -> None:
    """Have all processes watch process 0, and it them."""
    import jax

    from gradmatch_jax.training.processes import agreed_bytes

    if number == 0:
        host = str(join.coordinator).rpartition(":")[0] if join.coordinator else socket.getfqdn()
        server, address = Watch.listen(host.strip("[]"))
        watch.start(server, address, jax.process_count() - 1, lost)
        word = f"{address.port} {address.token.hex()} {address.host}".encode()
        agreed_bytes(word)
        return
    port, token, host = agreed_bytes(b"").decode().split(" ", 2)
    try:
        watch.join(Address(host, int(port), bytes.fromhex(token)), number, lost)
    except OSError as error:
        _leave(2, f"process 0 at {host}:{port} cannot be reached ({error}); open that port", number)
