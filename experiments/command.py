"""A measurement as a command: its settings from the command line, its mistakes in one line."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from gradmatch_jax.commands.signals import unread
from gradmatch_jax.errors import UserError

A = TypeVar("A")


def command(main: Callable[[A], int | None], settings: type[A]) -> None:
    """Run `main` on what the command line says and leave with its status."""
    sys.exit(status_of(Path(sys.argv[0]).stem, lambda: main(tyro.cli(settings))))


def status_of(program: str, work: Callable[[], int | None]) -> int:
    """Do the work; 2 and one line on bad input, 141 and none where the output's reader has left."""
    try:
        return work() or 0
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return unread()


def show(table: Table) -> None:
    """Print a table whole: where the window is narrower its lines wrap, and no figure is cut."""
    whole = Console(width=10_000).measure(table).maximum
    Console(width=max(Console().width, whole)).print(table)


def quickened(args: A, **small: Any) -> A:
    """`args` as --quick has them: `small`, but for what the user set otherwise.

    Records go under runs/, not beside those that count.
    """
    record: Any = args
    default = {f.name: f.default for f in dataclasses.fields(record)}
    small["results"] = Path("runs/quick") / record.results.name
    changed = {k: v for k, v in small.items() if getattr(args, k) == default[k]}
    return dataclasses.replace(record, **changed)
