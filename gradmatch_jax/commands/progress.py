"""How a command shows that it goes on: a bar in a terminal, a plain line where output is kept."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gradmatch_jax.report.tables import in_time

if TYPE_CHECKING:
    from rich.console import Console

OnEpoch = Callable[[dict[str, Any], int], None]


# Said where neither was named: the wait depends on them.
DEFAULTS = "network and epochs are the data set's defaults: see --model and --epochs"
# Where output is kept there is no screen to fit: nothing is cut or broken.
KEPT_WIDTH = 10_000


def make_console(*, quiet: bool = False) -> "Console":
    """Standard output, with every text as it is: what looks like markup may be a folder's name."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = KEPT_WIDTH
    return console


class Clock:
    """Time left, by how much has been done since the first time it was asked.

    What a resumed run had done before does not count: it was not waited for.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now, self._start, self._begun = now, now(), 0.0
        self._first = True

    def left(self, share: float) -> str:
        """In words, at a share of the whole that is done; nothing where nothing is known."""
        if self._first:
            self._first, self._start, self._begun = False, self._now(), share
        done = share - self._begun
        if done <= 0 or share >= 1:
            return ""
        return f"{in_time((self._now() - self._start) * (1 - share) / done)} left"


def of_epoch(row: dict[str, Any]) -> str:
    """An epoch's figures in a few words."""
    loss = row["train_loss"]
    said = "loss -" if loss is None else f"loss {loss:.3f}"
    return said + (f"  test {row['test_accuracy']:.2f} %" if "test_accuracy" in row else "")


@contextmanager
def epochs_shown(console: "Console") -> Iterator[OnEpoch]:
    """What `train` is to call after each epoch."""
    if not console.is_terminal:
        clock = Clock()

        def line(row: dict[str, Any], total: int) -> None:
            done = row["epoch"] + 1
            left = clock.left(done / total)
            print(f"epoch {done}/{total}  {of_epoch(row)}  {left}".rstrip(), flush=True)

        yield line
        return
    from rich.progress import Progress, TextColumn

    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("epochs", total=None, note="compiling")

        def bar(row: dict[str, Any], total: int) -> None:
            progress.update(task, total=total, completed=row["epoch"] + 1, note=of_epoch(row))

        yield bar
