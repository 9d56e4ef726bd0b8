"""`gradmatch-jax runs`: the runs below a folder, how far they are and what they came to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from gradmatch_jax.commands.progress import make_console
from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.report.summary import label_of
from gradmatch_jax.report.tables import Column, percent, rich_table
from gradmatch_jax.sweep import FAILED
from gradmatch_jax.training.files import read_json


@dataclass(frozen=True)
class RunsCommand:
    """List the runs below a folder, with their state and figures."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Where to look, in folders of folders too."""


class Found(NamedTuple):
    """A run's folder, looked at."""

    name: str
    data: str
    label: str
    fraction: float | None
    seed: int | None
    state: str  # "finished", "12 epochs done", "failed: .."
    accuracy: float | None
    train: float | None  # seconds
    select: float | None


COLUMNS: tuple[Column[Found], ...] = (
    Column("run", lambda run: run.name, narrow="run"),
    Column("data", lambda run: run.data),
    Column("strategy", lambda run: run.label, narrow="strategy"),
    Column("share", lambda run: run.fraction, percent, narrow="share"),
    Column("seed", lambda run: run.seed),
    Column("state", lambda run: run.state, narrow="state"),
    Column("test accuracy, %", lambda run: run.accuracy, "{:.2f}", narrow="accuracy, %"),
    Column("train, s", lambda run: run.train, "{:.1f}"),
    Column("select, s", lambda run: run.select, "{:.1f}"),
)


def find_runs(folder: Path) -> list[Found]:
    """Every run below a folder, by name.

    Raises:
        UserError: there is no such folder.
    """
    with explained(folder):
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}; name one that runs were written to")
        files = sorted(folder.rglob("config.json"))
    return [_looked_at(file.parent, folder) for file in files]


def run(command: RunsCommand) -> None:
    """Print the runs as a table.

    Raises:
        UserError: as `find_runs`, or there is no run.
    """
    rows = find_runs(command.folder)
    if not rows:
        raise UserError(
            f"{command.folder} holds no runs; `train` and `compare` write them to --out"
        )
    make_console().print(rich_table(COLUMNS, rows))


def _looked_at(path: Path, below: Path) -> Found:
    config, result = read_json(path / "config.json") or {}, read_json(path / "result.json") or {}
    failed = read_json(path / FAILED)
    if result:
        state = "finished"
    elif failed is not None:
        state = f"{failed.get('kind', 'failed')}: {failed.get('reason', '')}"
    else:
        state = f"{_lines(path / 'metrics.jsonl')} epochs done"
    return Found(
        str(path.relative_to(below)),
        str(config.get("dataset", "")),
        label_of(str(config.get("strategy", "")), bool(config.get("warm"))),
        config.get("fraction"),
        config.get("seed"),
        state,
        result.get("test_accuracy"),
        result.get("train_seconds"),
        result.get("selection_seconds"),
    )


def _lines(file: Path) -> int:
    with explained(file):
        return file.read_bytes().count(b"\n") if file.is_file() else 0
