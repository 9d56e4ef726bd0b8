"""The command `compare`: strategies by fractions by seeds, against full training.

No JAX here until something runs: the command line reads this to print its help.
"""

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.commands.progress import DEFAULTS, Clock
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import COUNT, SEED, SHARE
from gradmatch_jax.report import write_report
from gradmatch_jax.report.columns import COMPARISON
from gradmatch_jax.report.summary import (
    About,
    ended,
    footnote,
    label_of,
    notes,
    seconds_of,
    summarise,
)  # fmt: skip
from gradmatch_jax.report.tables import markdown, rich_table
from gradmatch_jax.settings import as_option, checked
from gradmatch_jax.sweep import Grid, Job, Progress, identity, plan, sweep
from gradmatch_jax.training.config import OPTIONAL, Settings, TrainConfig, changed
from gradmatch_jax.training.files import write_text
from gradmatch_jax.training.loggers import LogName, check_log

if TYPE_CHECKING:
    from rich.console import Console

    from gradmatch_jax.report.gallery import Gallery

__all__ = ["RECORD", "SEVERAL", "CompareConfig", "compare", "galleries", "plan_runs", "run"]

RECORD = "compare.json"  # what was compared and what came of it, beside the runs
SEVERAL = ("strategies", "fractions", "seeds")  # what a comparison has more than one of


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
    fractions: Annotated[tuple[float, ...], SHARE] = (0.05, 0.1)
    """k/n: the shares of the training set to train on."""
    seeds: Annotated[tuple[int, ...], SEED] = (0, 1, 2)
    """Each strategy and fraction runs once a seed."""
    eval_every: Annotated[int, COUNT] = 5
    """Epochs between tests (outside the clock): the points of the convergence curves."""
    out: Path = Path("runs/compare")
    """The table, the report and the runs go into its folder DATASET. Finished runs there are not
    repeated."""
    config: Path | None = None
    """A run's config.json, or its folder: what all runs share is taken where it is not named here.
    Of a comparison's compare.json, or its folder, strategies, fractions and seeds as well."""
    log: tuple[LogName, ...] = ()
    """Write each run's rows there as well: csv (metrics.csv), tensorboard, wandb (extras of those
    names; WANDB_MODE=offline keeps it here)."""
    compilation_cache: CompilationCache = None


def plan_runs(config: CompareConfig) -> list[Job]:
    """Every run of a comparison, seed by seed and `full` first, each exactly once.

    Raises:
        UserError: a name, fraction or seed that cannot be, or a setting that none of the strategies
          has; nothing has been read or run.
    """
    config = checked(config)
    check_log(config.log, config.out)
    for name in SEVERAL:
        if not getattr(config, name):
            raise UserError(f"--{name} is empty: name at least one")
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(Settings)}
    strategies = ("full", *config.strategies)
    base = TrainConfig(**shared)
    jobs = plan(Grid(base, strategies, config.fractions, config.seeds), config.out)
    idle = sorted(changed(base) & OPTIONAL - frozenset().union(*(j.config.applies for j in jobs)))
    if idle:
        raise UserError(
            f"{as_option(idle[0])} applies to none of the strategies compared; leave it out"
        )
    return jobs


def compare(
    config: CompareConfig,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    on_note: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Do every run that is not finished yet; returns the runs in order, as `sweep` gives them.

    Raises:
        UserError: bad settings, or a folder that holds another run, before anything runs.
    """
    jobs = plan_runs(config)
    ended = sweep(jobs, on_progress, stop=stop, log=config.log, on_note=on_note)
    rows = {finished.job.folder: finished.row for finished in ended}
    return [rows[job.folder] for job in jobs]


def galleries(config: CompareConfig, rows: Sequence[dict[str, Any]]) -> "list[Gallery]":
    """What each strategy selected last, in the runs of the first seed.

    Raises:
        UserError: the data cannot be read.
    """
    import numpy as np

    from gradmatch_jax.report.gallery import pick
    from gradmatch_jax.training.build import load

    first = [row for row in rows if row["seed"] == config.seeds[0] and "failed" not in row]
    chosen = [row for row in first if row["strategy"] != "full"]
    if not chosen:
        return []
    dataset = load(plan_runs(config)[0].config)
    result = []
    for row in chosen:
        with np.load(Path(row["folder"]) / "selection.npz", allow_pickle=False) as stored:
            indices, weights = stored["indices"], stored["weights"]
            if "train_rows" in stored:  # an earlier version counted in the training split
                indices = dataset.train.positions(indices)
        if len(indices) == 0:  # full training, cut short: nothing was selected
            continue
        label = label_of(row["strategy"], row["warm"])
        result.append(
            pick(label, row["fraction"], row["seed"], dataset.train, dataset.class_names,
                 indices, weights, vocabulary=dataset.vocabulary)
        )  # fmt: skip
    return result


def run(
    config: CompareConfig, console: "Console", stop: Callable[[], bool] = lambda: False
) -> None:
    """The command: compare, print the table, and write it with the report beside the runs.

    Raises:
        UserError: as `compare`.
    """
    jobs = plan_runs(config)  # what cannot be is said before a bar is drawn
    with console.status("starting"):  # JAX is imported there
        keep_compiled(config.compilation_cache)
    folder = jobs[0].folder.parent
    begun = time.monotonic()
    rows = _with_bar(config, console, stop)
    spent = wall_seconds(folder / RECORD, rows, time.monotonic() - begun)
    table = summarise(rows)
    said = notes(table)
    console.print(rich_table(COMPARISON, table, apart=lambda row: row.fraction))
    for note in said:
        console.print(note, style="yellow", soft_wrap=True)
    note = footnote(rows)
    console.print(note, style="dim")
    results = {
        "settings": _settings(config, jobs[0]),
        "rows": [row._asdict() for row in table],
        "runs": [{k: v for k, v in row.items() if k != "log"} for row in rows],
        "wall_seconds": spent,
    }
    files = [folder / name for name in (RECORD, "compare.md", "report.html")]
    write_text(files[0], json.dumps(results, indent=2) + "\n")
    under = "".join(f"\n{line}\n" for line in (*said, note))
    write_text(files[1], markdown(COMPARISON, table) + under)
    about = About(command_of(config), spent)
    with console.status("drawing the report"):
        write_report(files[2], rows, galleries(config, rows), about)
    console.print("wrote " + ", ".join(str(file) for file in files), soft_wrap=True)


def wall_seconds(file: Path, rows: Sequence[dict[str, Any]], now: float) -> float | None:
    """Of this call and the earlier ones that wrote `file`, compare.json; None where those cannot
    be all: one that was killed has left its runs and not its time."""
    from gradmatch_jax.training.files import read_json

    known = read_json(file) or {}
    total = now + (known.get("wall_seconds") or 0.0)
    return (
        total if total >= sum(seconds_of(r) + r["compile_seconds"] for r in ended(rows)) else None
    )


def command_of(config: CompareConfig) -> str:
    """What has these runs made, as one would type it.

    >>> command_of(CompareConfig(strategies=("random",), epochs=5))
    'gradmatch-jax compare --epochs 5 --strategies random'
    """
    words = ["gradmatch-jax", "compare"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name == "config":  # whose settings are all here
            continue
        if isinstance(value, bool):
            words.append(as_option(field.name if value else f"no_{field.name}"))
        else:
            several = value if isinstance(value, tuple) else (value,)
            words += [as_option(field.name), *map(str, several)]
    return shlex.join(words)


def _settings(config: CompareConfig, full: Job) -> dict[str, Any]:
    """What was compared, and where its data are: the data set's own where nothing was asked; what a
    strategy makes of them is in its run."""
    known = full.settings | identity(config)
    known |= {} if config.data_dir is None else {"data_dir": str(config.data_dir)}
    shared = {f.name: known[f.name] for f in dataclasses.fields(Settings) if f.name in known}
    return shared | {k: list(getattr(config, k)) for k in SEVERAL}


def _with_bar(
    config: CompareConfig, console: "Console", stop: Callable[[], bool]
) -> list[dict[str, Any]]:
    clock = Clock()
    by_default = config.model is None and config.epochs is None
    told: list[str] = []

    def say(text: str) -> None:
        """Of the first run that is done alone: its network and epochs are the others' too."""
        if not told:
            hint = f"; {DEFAULTS}" if by_default else ""
            console.print(f"{text}{hint}", soft_wrap=True)
        told.append(text)

    if not console.is_terminal:
        seen: list[str] = []

        def line(progress: Progress) -> None:
            if progress.name not in seen:  # a line a run, as it begins
                seen.append(progress.name)
                run = f"run {progress.run + 1}/{progress.runs}  {progress.name}"
                print(f"{run}  {clock.left(_share(progress))}".rstrip(), flush=True)

        return compare(config, line, stop, say)
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        runs = bar.add_task("runs", total=None, left="")
        epochs = bar.add_task("", total=None, left="")

        def show(progress: Progress) -> None:
            left = clock.left(_share(progress))
            bar.update(runs, completed=progress.run, total=progress.runs, left=left)
            # No epochs yet: the first one compiles, and a bar without a total says "busy".
            bar.update(epochs, description=progress.name, completed=progress.epoch,
                       total=progress.epochs or None)  # fmt: skip

        return compare(config, show, stop, say)


def _share(progress: Progress) -> float:
    """Of all runs, as if each took as long as another."""
    return (progress.run + progress.epoch / max(progress.epochs, 1)) / progress.runs
