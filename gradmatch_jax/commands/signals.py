"""SIGINT and SIGTERM, answered at once, whatever the main thread is in.

Python runs a signal's handler between two of its own instructions, and compiling a program is one
call of a minute. So the interpreter writes the signal to a pipe, and a thread reads it there.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `timeout`, `uv run`, a terminal and a scheduler send one request twice: to the command, and to the
# group of processes that it is in. The same signal within this many seconds is the same request.
TOGETHER = 1.0
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class Asked:
    """Whether the command was asked to stop; what asks it, can stop and keep its work.

    Until it is asked for the first time there is nothing to keep, and a signal ends the process.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0: none came
        self._heard = False
        self._since = 0.0  # when it came

    def __call__(self) -> bool:
        """Whether it was asked to; from now on a first signal waits for this."""
        self._heard = True
        return self.number != 0

    def answer(self, number: int) -> None:
        """What a signal does; called by the thread that reads them."""
        if self._heard and not self.number:
            self.number, self._since = number, time.monotonic()
            _say("stopping as soon as it can be saved; a second signal stops at once")
            return
        if self.number == number and time.monotonic() - self._since < TOGETHER:
            return
        _say("stopped at once" if self.number else "stopped; nothing had to be saved")
        os._exit(status(number))  # no traceback, and no waiting for what the main thread is in


def status(number: int) -> int:
    """The exit status of a command that a signal ended: 130 or 143."""
    return 128 + number


def unread() -> int:
    """The exit status where who reads has seen enough, as `head` does; nor is more flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status(13)  # SIGPIPE, by a name that not every system has


def _say(text: str) -> None:
    cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
    sys.stderr.write(f"{cursor}gradmatch-jax: {text}\n")
    sys.stderr.flush()


@contextmanager
def answered() -> Iterator[Asked]:
    """Answer both signals in the block, and as before after it.

    But for one that it was asked by: the command is leaving, and the same request may come again.

    Yields:
        Whether to stop, to be asked where work can be kept.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():  # handlers are the main one's
        yield asked
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while numbers := os.read(reader, 1):
            if numbers[0] in SIGNALS:
                asked.answer(numbers[0])

    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if number == asked.number else handler)
        os.close(writer)  # ends the thread
        thread.join()
        os.close(reader)
