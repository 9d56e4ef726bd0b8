"""A grid of runs: planned once as data, claimed, resumed, its results read back.

`gradmatch-jax compare` and the experiments are made of it. No JAX here until something runs.
"""

import dataclasses
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradmatch_jax.errors import Blocked, Diverged, UserError
from gradmatch_jax.report.summary import label_of
from gradmatch_jax.training.claim import claim
from gradmatch_jax.training.config import NOT_IDENTITY, RunConfig, Settings, TrainConfig, resolve

if TYPE_CHECKING:
    from gradmatch_jax.data import Dataset
    from gradmatch_jax.training.records import FailureRecord

FAILED = "failed.json"
# What decides which examples a run is given: runs that share these share the loaded data.
_DATA = (
    "dataset", "data_dir", "reader", "seed", "validation_fraction", "imbalance",
    "imbalance_classes", "label_noise", "image_size",
)  # fmt: skip
# What a run may end in that is its own: the others go on. A full disk or a mistake in the code
# would meet them too, and stops the sweep.
_OWN_FAILURES = (UserError, ArithmeticError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Grid:
    """Strategies by fractions by seeds, and any other settings, over one configuration.

    Example:
        >>> grid = Grid(TrainConfig(epochs=2), ("random", "full"), (0.1, 0.2))
        >>> [job.name for job in plan(grid, Path("runs"))]
        ['random-0.1-seed0', 'random-0.2-seed0', 'full-1-seed0']
    """

    base: TrainConfig
    strategies: tuple[str, ...]
    fractions: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    variants: tuple[Mapping[str, Any], ...] = ({},)
    """Settings that replace the base's: ({"select_every": 5}, {"select_every": 10})."""


class Job(NamedTuple):
    """One run to do."""

    config: RunConfig
    settings: dict[str, Any]  # what makes it this run and no other, as JSON
    label: str  # "gradmatch-warm"
    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


class Progress(NamedTuple):
    """Where a sweep stands."""

    run: int  # runs done before this one
    runs: int
    name: str  # the current run's folder
    epoch: int  # epochs done in it
    epochs: int


class Finished(NamedTuple):
    """A run that was read back or has just ended."""

    job: Job
    row: dict[str, Any]
    """The summary of its result.json with "batch_size", its "folder" and its "log", the rows of
    metrics.jsonl; of a run that came to nothing its settings and "failed" (a `FailureRecord`)."""


def plan(grid: Grid, root: Path) -> list[Job]:
    """Every run of a grid, each exactly once: by variant, seed, strategy and fraction.

    Full training does not depend on the fraction, and runs once a seed. A run's folder is
    ROOT/DATASET/NAME-FRACTION-seedSEED, and what a variant sets.

    Args:
        grid: what to run.
        root: where the runs' folders go.

    Returns:
        The jobs in order; nothing has been read or run.

    Raises:
        UserError: a name, fraction, seed or setting that cannot be.
    """
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    for variant in grid.variants:
        if unknown := sorted(variant.keys() - known):
            raise UserError(f"a variant sets {', '.join(unknown)}: no such setting")
    axes = (grid.variants, grid.seeds, grid.strategies, grid.fractions)
    jobs: dict[str, Job] = {}
    for variant, seed, strategy, fraction in itertools.product(*axes):
        job = _job(grid.base, variant, strategy, fraction, seed, root)
        jobs.setdefault(json.dumps(job.settings, sort_keys=True), job)
    return list(jobs.values())


def _job(
    base: TrainConfig,
    variant: Mapping[str, Any],
    strategy: str,
    fraction: float,
    seed: int,
    root: Path,
) -> Job:
    changes = dict(variant) | {"strategy": strategy, "fraction": fraction, "seed": seed}
    asked = dataclasses.replace(base, **changes)
    config, settings = _resolved(asked)
    label = label_of(settings["strategy"], settings.get("warm", False))
    varied = (f"-{key}-{settings[key]}" for key in variant if key in settings)
    name = f"{label}-{settings.get('fraction', 1.0):.10g}-seed{seed}" + "".join(varied)
    return Job(config, settings, label, root / settings["dataset"] / name)


def _resolved(asked: TrainConfig) -> tuple[RunConfig, dict[str, Any]]:
    """A configuration made whole, and its settings that make a run this one, as JSON.

    What does not apply to a strategy others of the grid may want: it is left out.
    """
    config = resolve(asked, strict=False)
    return config, identifying(config.to_json())


def identity(config: Settings) -> dict[str, Any]:
    """What a user asked for, as JSON values, but for what does not change a run's result."""
    values = {k: v for k, v in vars(config).items() if v is not None}
    return identifying({k: str(v) if isinstance(v, Path) else v for k, v in values.items()})


def identifying(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings as JSON values those that decide what a run comes to."""
    return {k: v for k, v in values.items() if k not in NOT_IDENTITY}


def sweep(
    jobs: Iterable[Job],
    on_progress: Callable[[Progress], None] = lambda progress: None,
    *,
    wait: bool = True,
    stop: Callable[[], bool] = lambda: False,
    log: Sequence[str] = (),
    on_note: Callable[[str], None] = lambda text: None,
    data: "Callable[[Job], Dataset] | None" = None,
) -> Iterator[Finished]:
    """Do the runs that are not finished, and give every run as it is known.

    Several processes may share the runs: each is done by one of them. A run that diverges or
    fails is recorded in its folder, and the rest goes on; the next call reads that back. A killed
    run is resumed.

    Args:
        jobs: what `plan` made.
        on_progress: called before, during and after each run.
        wait: give what other processes are running as well, when it is done; otherwise leave it
            out.
        stop: as `train`'s.
        log: likewise, of each run.
        on_note: likewise.
        data: what a job trains on. None: what its configuration names.

    Yields:
        The runs, in order but for those waited for. While the caller has one, it is held: no
        other process gets it.

    Raises:
        UserError: a folder holds another run, before anything runs; or the data cannot be read.
        Stopped: `stop` said so.
    """
    jobs = list(jobs)
    found = {job.folder: _read_back(job) for job in jobs}
    ahead, done = deque((job, False) for job in jobs), 0
    data_of = _Data().of if data is None else data
    while ahead:
        job, waiting = ahead.popleft()
        with claim(job.folder, wait=waiting) as held:
            if not held:
                if wait:
                    ahead.append((job, True))
                continue
            row = found[job.folder] or _read_back(job)
            if row is None:
                start = Progress(done, len(jobs), job.name, 0, 0)
                row = _run(job, data_of, start, on_progress, stop, log=log, on_note=on_note)
            done += 1
            epochs = len(row["log"])
            on_progress(Progress(done, len(jobs), job.name, epochs, epochs))
            yield Finished(job, row)


class _Data:
    """The data that a run trains on, kept for the next one."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._dataset: Dataset | None = None

    def of(self, job: Job) -> "Dataset":
        from gradmatch_jax.training.build import load

        key = tuple(getattr(job.config, name) for name in _DATA)
        if self._dataset is None or key != self._key:
            self._key, self._dataset = key, load(job.config)
        return self._dataset


def _run(
    job: Job,
    data_of: "Callable[[Job], Dataset]",
    start: Progress,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    **rest: Any,
) -> dict[str, Any]:
    """Train; the run's row, also where it comes to nothing."""
    from gradmatch_jax.training.loop import train

    def on_epoch(row: dict[str, Any], epochs: int) -> None:
        on_progress(start._replace(epoch=row["epoch"] + 1, epochs=epochs))

    on_progress(start)
    dataset = data_of(job)
    try:
        result = train(
            job.config, job.folder, dataset=dataset, on_epoch=on_epoch, stop=stop, **rest
        )
    except Blocked:  # a full disk, say: it would meet the others too
        raise
    except _OWN_FAILURES as error:
        return _failed(job, error)
    return _row(job, result.summary, result.log)


def _failed(job: Job, error: Exception) -> dict[str, Any]:
    """Record in the run's folder why it came to nothing; its row."""
    from gradmatch_jax.training.files import write_json
    from gradmatch_jax.training.folder import RunFolder

    diverged = isinstance(error, (Diverged, ArithmeticError))
    said = " ".join(str(error).split())
    reason = said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
    log = RunFolder(job.folder, job.config).read_log()
    failure: FailureRecord = {
        "kind": "diverged" if diverged else "failed",
        "reason": reason,
        "epoch": len(log),
    }
    write_json(job.folder / FAILED, dict(failure))
    return _row(job, {"failed": failure}, log)


def _read_back(job: Job) -> dict[str, Any] | None:
    """The row of a run that has ended, from its folder, or None.

    Reading it back here needs neither the data nor a compiled model, which train() would.
    """
    if not job.folder.is_dir() or not any(job.folder.iterdir()):
        return None
    from gradmatch_jax.training.files import read_json
    from gradmatch_jax.training.folder import RunFolder
    from gradmatch_jax.training.records import FailureRecord, mismatches

    folder = RunFolder(job.folder, job.config)
    if (result := folder.result) is not None:
        return _row(job, result, folder.read_log())
    failure = read_json(job.folder / FAILED)  # a damaged one says nothing: it is tried again
    if failure is not None and not mismatches(failure, FailureRecord):
        return _row(job, {"failed": failure}, folder.read_log())
    return None


def _row(job: Job, summary: dict[str, Any], log: list[dict[str, Any]]) -> dict[str, Any]:
    from gradmatch_jax.training.files import finite

    c = job.config
    known = {
        "strategy": c.strategy, "fraction": c.fraction, "warm": c.warm, "seed": c.seed,
        "dataset": c.dataset, "model": c.model,
    }  # fmt: skip
    rest = {"batch_size": c.batch_size, "folder": str(job.folder), "log": finite(log)}
    return known | finite(summary) | rest
