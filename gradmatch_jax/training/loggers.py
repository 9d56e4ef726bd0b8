"""Loggers: the rows of metrics.jsonl once more, where people like to look at them.

| name | where | extra |
| --- | --- | --- |
| csv | metrics.csv in the run's folder | |
| tensorboard | its folder tensorboard/ | tensorboard |
| wandb | a run of the folder's name; with WANDB_MODE=offline in its folder wandb/ | wandb |

metrics.jsonl is what counts. What is in the folder is a view of it, made anew when a run is taken
up: a killed run loses what a package had not written yet, and does epochs again. What Weights &
Biases has at its own place cannot be taken back, but it says how far that is, and only what comes
after is given. So no row is anywhere twice. No JAX here, and no logger's package before it is used.
"""

import csv
import importlib
import importlib.util
import io
import os
import secrets
import shutil
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import check_literal
from gradmatch_jax.training.files import finite, read_json, write_json, write_text
from gradmatch_jax.training.records import EpochRecord, SelectionRecord

LogName = Literal["csv", "tensorboard", "wandb"]
NAMES: tuple[LogName, ...] = typing.get_args(LogName)
PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
# Of Weights & Biases, where WANDB_PROJECT names no other.
PROJECT = "gradmatch-jax"

Row = Mapping[str, Any]


class Logger(Protocol):
    """Where rows go."""

    def begin(self, rows: Sequence[Row]) -> None:
        """Take up a run that has these rows, none of them twice."""
        ...

    def write(self, row: Row) -> None:
        """One more epoch."""
        ...

    def close(self) -> None:
        """The last one was written."""
        ...


def check_log(names: Sequence[str], out: Any) -> None:
    """Whether rows can be logged so, before anything is read or run.

    Raises:
        UserError: no such logger, its package is missing, or there is no folder.
    """
    for name in names:
        check_literal("log", name, NAMES)
        package = PACKAGES.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            raise UserError(f"log {name} needs {package}: pip install 'gradmatch-jax[{name}]'")
    if names and out is None:
        raise UserError("log needs out, a run's folder: name one, or leave log out")


@contextmanager
def logging(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], rows: Sequence[Row]
) -> Iterator[Callable[[Row], None]]:
    """The loggers of a run for the block.

    Args:
        names: of them.
        folder: the run's.
        settings: its configuration.
        rows: those it has so far.

    Yields:
        What to call with each further row.
    """
    made: list[Logger] = [KINDS[name](folder, settings) for name in dict.fromkeys(names)]

    def write(row: Row) -> None:
        for logger in made:
            logger.write(finite(dict(row)))

    with ExitStack() as opened:
        for logger in made:
            opened.callback(logger.close)
            logger.begin(rows)
        yield write


def flat(row: Row) -> dict[str, Any]:
    """A row without a row in it, and without what has no value.

    >>> flat({"epoch": 3, "joules": None, "selection": {"size": 65, "stopped": None}})
    {'epoch': 3, 'selection/size': 65}
    """
    values: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            values |= {f"{name}/{k}": v for k, v in value.items() if v is not None}
        elif value is not None:
            values[name] = value
    return values


def columns() -> list[str]:
    """Everything that a row may have, by the names of `flat`."""
    names = [name for name in EpochRecord.__annotations__ if name != "selection"]
    return names + [f"selection/{name}" for name in SelectionRecord.__annotations__]


class CsvLog:
    """metrics.csv, a line an epoch under one of names."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        del settings
        self._file = folder / "metrics.csv"

    def begin(self, rows: Sequence[Row]) -> None:
        """Write the file anew, whole or not at all."""
        write_text(self._file, _line(columns()) + "".join(self._of(row) for row in rows))

    def write(self, row: Row) -> None:
        """Append a line."""
        with self._file.open("a", newline="") as file:
            file.write(self._of(row))

    def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def _of(row: Row) -> str:
        values = flat(row)
        return _line([values.get(name, "") for name in columns()])


def _line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


class TensorBoardLog:
    """An event file of scalars by epoch."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        del settings
        self._folder = folder / "tensorboard"
        self._writer: Any = None

    def begin(self, rows: Sequence[Row]) -> None:
        """Write the rows to a file in the place of those that were there."""
        package: Any = importlib.import_module(PACKAGES["tensorboard"])
        for file in self._folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = package.SummaryWriter(str(self._folder))
        for row in rows:
            self._add(row)
        self._writer.flush()

    def write(self, row: Row) -> None:
        """Add an epoch's scalars, on disk when this returns."""
        self._add(row)
        self._writer.flush()

    def _add(self, row: Row) -> None:
        for name, value in flat(row).items():
            if name != "epoch" and isinstance(value, (int, float)):
                self._writer.add_scalar(name, float(value), row["epoch"])

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class WandbLog:
    """A run of Weights & Biases: WANDB_MODE, WANDB_PROJECT and the like say where it goes."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self._folder, self._settings = folder, dict(settings)
        self._run, self._next = None, 0

    def begin(self, rows: Sequence[Row]) -> None:
        """Open the run, the same one again where the folder has one, and give it what it lacks.

        Raises:
            UserError: it cannot be opened: not logged in, no network.
        """
        wandb: Any = importlib.import_module(PACKAGES["wandb"])
        noted = self._folder / "wandb.json"
        name = str((read_json(noted) or {}).get("id") or secrets.token_hex(4))
        write_json(noted, {"id": name})
        earlier = [p for p in self._folder.glob(f"wandb/offline-run-*-{name}") if not _sent(p)]
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT), name=self._folder.name,
                id=name, resume="allow", dir=str(self._folder), config=self._settings,
                reinit="create_new", settings=wandb.Settings(silent=True, console="off"),
            )  # fmt: skip
        except wandb.Error as error:
            said = " ".join(str(error).split())
            raise UserError(f"log wandb: {said}; or set WANDB_MODE=offline") from error
        if self._run.offline:
            for path in earlier:
                shutil.rmtree(path)
        else:
            self._next = self._run.step
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        """Give it an epoch, unless it was given that one before the run was killed."""
        if row["epoch"] >= self._next:
            values = {k: v for k, v in flat(row).items() if k != "epoch"}
            self._run.log(values, step=row["epoch"], commit=True)

    def close(self) -> None:
        """Say that it has ended."""
        if self._run is not None:
            self._run.finish()


def _sent(folder: Path) -> bool:
    """Whether an offline run was synced since; its service marks it with a file."""
    return any(folder.glob("*.synced"))


KINDS: Mapping[str, Any] = {"csv": CsvLog, "tensorboard": TensorBoardLog, "wandb": WandbLog}
