"""Many runs side by side: strategies by fractions by seeds, against full training.

No JAX here until something runs: the command line reads this to print its help.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.report import write_report
from gradmatch_jax.report.summary import HEADINGS, cells, footnote, label_of, markdown, summarise
from gradmatch_jax.training.config import NOT_IDENTITY, RunConfig, Settings, TrainConfig, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from gradmatch_jax.data import Dataset
    from gradmatch_jax.report.gallery import Gallery

__all__ = ["CompareConfig", "Progress", "compare", "plan_runs", "run", "summarise"]


@dataclass(frozen=True)
class CompareConfig(Settings):
    """Compare strategies with full training: a table, figures and what was selected."""

    strategies: tuple[str, ...] = (
        "random",
        "adaptive-random",
        "gradmatch",
        "gradmatch-warm",
        "gradmatch-per-class-warm",
        "gradmatch-pb-warm",
    )
    """See `gradmatch-jax strategies`; full is always run too, once a seed."""
    fractions: tuple[float, ...] = (0.05, 0.1)
    """k/n: the shares of the training set to train on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each strategy and fraction runs once a seed."""
    eval_every: int = 5
    """Epochs between tests (outside the clock): the points of the convergence curves."""
    out: Path = Path("runs/compare")
    """The table, the report and the runs go into its folder DATASET. Finished runs there are not
    repeated."""


class Job(NamedTuple):
    """One run to do: its settings, resolved, and its folder."""

    config: RunConfig
    folder: Path


class Progress(NamedTuple):
    """Where a comparison stands."""

    run: int  # runs done before this one
    runs: int
    name: str  # the current run's folder
    epoch: int  # epochs done in it
    epochs: int


def plan_runs(config: CompareConfig) -> list[Job]:
    """Every run of a comparison, seed by seed and `full` first, each exactly once.

    Raises:
        UserError: a name, fraction or seed that cannot be; nothing has been read or run.
    """
    for name in ("strategies", "fractions", "seeds"):
        if not getattr(config, name):
            raise UserError(f"--{name} is empty: name at least one")
    base = {field.name: getattr(config, field.name) for field in dataclasses.fields(Settings)}
    jobs: dict[Path, Job] = {}
    for seed in config.seeds:
        for strategy in ("full", *config.strategies):
            for fraction in config.fractions:
                job = _job(config.out, base, strategy, fraction, seed)
                jobs.setdefault(job.folder, job)
    return list(jobs.values())


def _job(out: Path, base: dict[str, Any], strategy: str, fraction: float, seed: int) -> Job:
    asked = TrainConfig(strategy=strategy, fraction=fraction, seed=seed, **base)
    settings = resolve(asked, strict=False)
    label = label_of(settings.strategy, settings.warm)
    name = f"{label}-{settings.fraction:.10g}-seed{seed}"
    return Job(settings, out / settings.dataset / name)


def compare(
    config: CompareConfig, on_progress: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, Any]]:
    """Do every run that is not finished yet; returns the runs in order.

    Each is the summary of its result.json with "batch_size", its "folder", and
    its "log", the rows of metrics.jsonl.

    Raises:
        UserError: bad settings, or a folder that holds another run, before anything runs.
    """
    jobs = plan_runs(config)
    finished = {job.folder: _finished(job) for job in jobs}
    loaded: tuple[int, Dataset] | None = None
    rows = []
    for done, job in enumerate(jobs):
        row = finished[job.folder]
        if row is None:
            if loaded is None or loaded[0] != job.config.seed:
                loaded = job.config.seed, _load(job.config)
            row = _run(job, loaded[1], done, len(jobs), on_progress)
        rows.append(row)
        epochs = len(row["log"])
        on_progress(Progress(done + 1, len(jobs), job.folder.name, epochs, epochs))
    return rows


def _load(config: RunConfig) -> "Dataset":
    from gradmatch_jax.training.build import load

    return load(config)


def _run(job: Job, dataset, done: int, total: int, on_progress) -> dict[str, Any]:
    from gradmatch_jax.training.loop import train

    def on_epoch(row: dict[str, Any], epochs: int) -> None:
        on_progress(Progress(done, total, job.folder.name, row["epoch"] + 1, epochs))

    on_progress(Progress(done, total, job.folder.name, 0, 0))
    result = train(job.config, job.folder, dataset=dataset, on_epoch=on_epoch)
    return _row(job, result.summary, result.log)


def _finished(job: Job) -> dict[str, Any] | None:
    """The row of a run that its folder holds whole, or None.

    Reading it back here needs neither the data nor a compiled model, which train() would.
    """
    if not (job.folder / "config.json").exists():
        return None
    from gradmatch_jax.training.folder import RunFolder

    folder = RunFolder(job.folder, job.config)
    try:
        return None if folder.result is None else _row(job, folder.result, folder.read_log())
    finally:
        folder.close()


def _row(job: Job, summary: dict[str, Any], log: list[dict[str, Any]]) -> dict[str, Any]:
    from gradmatch_jax.training.folder import finite

    return finite(summary) | {
        "batch_size": job.config.batch_size,
        "folder": str(job.folder),
        "log": finite(log),
    }


def galleries(config: CompareConfig, rows: Sequence[dict[str, Any]]) -> "list[Gallery]":
    """What each strategy selected last, in the runs of the first seed.

    Raises:
        UserError: the data cannot be read.
    """
    import numpy as np

    from gradmatch_jax.report.gallery import pick

    chosen = [r for r in rows if r["seed"] == config.seeds[0] and r["strategy"] != "full"]
    if not chosen:
        return []
    dataset = _load(plan_runs(config)[0].config)
    result = []
    for row in chosen:
        with np.load(Path(row["folder"]) / "selection.npz", allow_pickle=False) as stored:
            indices, weights = stored["indices"], stored["weights"]
        if len(indices) == 0:  # full training, cut short: nothing was selected
            continue
        label = label_of(row["strategy"], row["warm"])
        result.append(
            pick(label, row["fraction"], row["seed"], dataset.train, dataset.class_names,
                 indices, weights, vocabulary=dataset.vocabulary)
        )  # fmt: skip
    return result


def run(config: CompareConfig, console: "Console") -> None:
    """The command: compare, print the table, and write it with the report beside the runs.

    Raises:
        UserError: as `compare`.
    """
    plan_runs(config)  # what cannot be is said before a bar is drawn
    rows = _with_bar(config, console)
    table = summarise(rows)
    note = footnote(rows)
    console.print(_rich_table(table))
    console.print(note, style="dim")
    # The data set's own where nothing was asked; what a strategy makes of them is in its run.
    own = plan_runs(config)[0].config
    settings = {field.name: getattr(own, field.name) for field in dataclasses.fields(Settings)}
    settings |= {k: v for k, v in vars(config).items() if k in settings and v is not None}
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    asked = {name: list(getattr(config, name)) for name in ("strategies", "fractions", "seeds")}
    runs = [{k: v for k, v in row.items() if k != "log"} for row in rows]
    results = {
        "settings": {k: v for k, v in settings.items() if k not in NOT_IDENTITY} | asked,
        "rows": [row._asdict() for row in table],
        "runs": runs,
    }
    folder = plan_runs(config)[0].folder.parent
    files = [folder / name for name in ("compare.json", "compare.md", "report.html")]
    files[0].write_text(json.dumps(results, indent=2) + "\n")
    files[1].write_text(f"{markdown(table)}\n{note}\n", encoding="utf-8")
    write_report(files[2], rows, galleries(config, rows))
    console.print("wrote " + ", ".join(str(file) for file in files), soft_wrap=True)


def _with_bar(config: CompareConfig, console: "Console") -> list[dict[str, Any]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        runs, epochs = bar.add_task("runs", total=None), bar.add_task("", total=None)

        def show(progress: Progress) -> None:
            bar.update(runs, completed=progress.run, total=progress.runs)
            # No epochs yet: the first one compiles, and a bar without a total says "busy".
            bar.update(epochs, description=progress.name, completed=progress.epoch,
                       total=progress.epochs or None)  # fmt: skip

        return compare(config, show)


IN_CONSOLE = {  # heading -> a shorter one
    "strategy": "strategy",
    "data": "data",
    "test accuracy, %": "accuracy, %",
    "train + select, s": "seconds",
    "speed-up": "speed-up",
    "ceiling": "ceiling",
}


def _rich_table(table: Iterable[Any]):
    from rich.box import SIMPLE
    from rich.table import Table

    # What fits 80 columns; compare.md and the report have every column.
    shown = [i for i, heading in enumerate(HEADINGS) if heading in IN_CONSOLE]
    result = Table(header_style="bold", box=SIMPLE, padding=(0, 1, 0, 0))
    for i in shown:
        heading = IN_CONSOLE[HEADINGS[i]]
        result.add_column(heading, justify="left" if i == 0 else "right", no_wrap=True)
    previous = None
    for row in table:
        if previous not in (None, row.fraction):
            result.add_section()
        previous = row.fraction
        values = cells(row)
        result.add_row(*(values[i] for i in shown))
    return result
