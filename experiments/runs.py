"""Runs of the experiments: a sweep whose results are JSON lines, which the tables read.

Start the same command once a core for several workers, each on cores of its own (taskset): each
run is done by one of them, and a killed one is resumed by the next. Or give it a `Ray` cluster.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records import append, read, stamp
from gradmatch_jax.data import Dataset
from gradmatch_jax.errors import Stopped, UserError, no_such
from gradmatch_jax.inputs.values import short
from gradmatch_jax.strategies.registry import STRATEGIES
from gradmatch_jax.sweep import Job, identifying, sweep
from gradmatch_jax.training.folder import SELECTION

Ended = tuple[Job, dict[str, Any]]  # a run and its record


def run_all(
    jobs: Iterable[Job],
    results: Path,
    *,
    until: float = math.inf,
    spread: Callable[[list[Job], float], Iterable[Ended]] | None = None,
    needs: str | None = None,
) -> None:
    """Run what `results` has no record of, and what no other worker is running.

    A run that diverges or fails is recorded as that, and not tried again.

    Args:
        jobs: as `gradmatch_jax.sweep.plan` made them.
        results: the file of records.
        until: when to stop, as `time.time` counts: the run then on the way is saved, and the next
            call goes on with it.
        spread: what does them, elsewhere than in this process (`experiments.on_ray`).
        needs: a figure without which a record does not count (`counted`).

    Raises:
        UserError: a record is of other settings.
    """
    ahead = [job for job in jobs if not recorded(results, job, needs)]
    for job, record in (spread or here)(ahead, until):
        if recorded(results, job, needs):  # by another worker, meanwhile
            continue
        if not counted([record], needs) and recorded(results, job):  # a second like it is no help
            print(f"{run_name(job)}: no {needs} in {job.folder}; remove it to run it anew")
            continue
        append(results, record)
        said = record["failed"]["reason"] if "failed" in record else record["test_accuracy"]
        print(run_name(job), said, flush=True)


def here(
    jobs: list[Job],
    until: float = math.inf,
    *,
    data: Callable[[Job], Dataset] | None = None,
) -> Iterator[Ended]:
    """Do runs one after another in this process, on `data` where they have their own.

    Yields:
        Each that ended, with its record; the one that was stopped by the clock is not among them.
    """
    start = time.perf_counter()
    try:
        for job, row in sweep(jobs, wait=False, stop=lambda: time.time() >= until, data=data):
            yield job, _record(job, row, start)
            start = time.perf_counter()
    except Stopped as stopped:
        print(stopped, flush=True)


def run_name(job: Job) -> str:
    """What a run is called in the records."""
    return f"{job.settings['dataset']}-{job.name}"


def _record(job: Job, row: dict[str, Any], start: float) -> dict[str, Any]:
    curve = [
        [epoch["epoch"], epoch["train_seconds"] + epoch["selection_seconds"],
         epoch["test_accuracy"]]
        for epoch in row["log"] if "test_accuracy" in epoch
    ]  # fmt: skip
    rest = {k: v for k, v in row.items() if k not in ("log", "folder")}
    if "failed" not in row and (never := never_trained(job.folder, row)) is not None:
        rest["never_trained"] = never
    # The summary's own versions and device: the run may have been made elsewhere.
    return {"run": run_name(job)} | stamp(job.settings, start) | {"curve": curve} | rest


def never_trained(folder: Path, row: dict[str, Any]) -> float | None:
    """Percent of the training set in none of a run's selections (the paper's redundant points).

    None where the run's folder has no selections to count.
    """
    file = folder / SELECTION
    if row["full_epochs"]:
        return 0.0  # an epoch on everything
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        if "history_indices" not in arrays or not len(arrays["history_indices"]):
            return None
        unused = ~np.isin(arrays["train_rows"], arrays["history_indices"])
    return 100.0 * float(unused.mean())


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds  # true is an int of Python's, and no number of JSON's


def _number(least: float = 0.0, most: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


_positive = _number(least=1e-12)
# What every table and figure reads of a run, and whether it can be that.
_NEEDED: dict[str, Callable[[Any], bool]] = {
    "run": _is(str), "strategy": _is(str), "warm": _is(bool), "seed": _is(int),
    "fraction": _number(1e-12, 1), "dataset": _is(str), "model": _is(str), "device": _is(str),
    "revision": _is(str),
    "config": _is(dict), "config.epochs": _positive,
}  # fmt: skip
_FAILED = {"failed": _is(dict), "failed.kind": _is(str), "failed.reason": _is(str)}
_ENDED: dict[str, Callable[[Any], bool]] = {
    "test_accuracy": _number(most=100), "train_seconds": _number(),
    "selection_seconds": _number(), "train_size": _positive, "subset_size": _positive,
    "epochs": _positive, "full_epochs": _number(), "curve": _is(list),
}  # fmt: skip


def read_runs(results: Path) -> list[dict[str, Any]]:
    """The records of runs, with all that tables and figures read of one.

    Raises:
        UserError: a line that is no record, or a record that is none of a run.
    """
    found = read(results)
    for place, record in enumerate(found):
        for name, holds in (_NEEDED | (_FAILED if "failed" in record else _ENDED)).items():
            value = _at(record, name)
            if not holds(value):
                said = "missing or null" if value is None else short(value)
                raise UserError(
                    f"{results}:{_line(results, place)} is no record of a run: {name} is {said}; "
                    "take that line out, or name another file"
                )
        if record["strategy"] not in STRATEGIES:
            where = f"strategy ({results}:{_line(results, place)})"
            raise no_such(where, record["strategy"], STRATEGIES)
    return found


def _at(record: dict[str, Any], name: str) -> Any:
    """A field, or one of those within a field: config.epochs."""
    outer, _, inner = name.partition(".")
    return record.get(outer, {}).get(inner) if inner else record.get(outer)


def _line(results: Path, place: int) -> int:
    """The number of a record's line in the file, where there are empty ones before it too."""
    lines = enumerate(results.read_bytes().split(b"\n"), 1)
    return [number for number, line in lines if line.strip()][place]


class Recorded:
    """Records by what their run was, to ask for those of a job."""

    def __init__(self, records: Iterable[dict[str, Any]]):
        self._known: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for record in records:
            key = record["strategy"], record["warm"], round(record["fraction"], 9), record["seed"]
            self._known.setdefault(key, []).append(record)

    def of(self, job: Job) -> list[dict[str, Any]]:
        """The records of runs with the job's settings, whatever they were called.

        A setting that a record does not name is of a later revision, and does not count.
        """
        c = job.config
        stored = self._known.get((c.strategy, c.warm, round(c.fraction, 9), c.seed), [])
        return [record for record in stored if not _others(record, job)]


def _others(record: dict[str, Any], job: Job) -> list[str]:
    """What a record has otherwise than the job, in words."""
    then = config_of(record)
    return [f"{k} {then[k]}, not {v}" for k, v in job.settings.items() if then.get(k, v) != v]


def counted(records: Iterable[dict[str, Any]], needs: str | None) -> list[dict[str, Any]]:
    """Those that have the figure needed, if one is, or failed: earlier revisions had fewer."""
    return [r for r in records if needs is None or needs in r or "failed" in r]


def recorded(results: Path, job: Job, needs: str | None = None) -> bool:
    """Whether `results` has a record of the run that counts (`counted`).

    Raises:
        UserError: the record of that name is of other settings.
    """
    records = read(results)
    if Recorded(counted(records, needs)).of(job):
        return True
    for record in records:
        if record["run"] == run_name(job) and (others := _others(record, job)):
            other = "; ".join(others)
            raise UserError(
                f"{results} has a {run_name(job)} with {other}: give other --runs and --results"
            )
    return False


# What settings were called at earlier revisions.
_RENAMED = {"glister_greedy": "greedy", "glister_refresh": "refresh"}
# What a strategy did before a setting was there, where that is not today's default.
_BEFORE: dict[str, dict[str, Any]] = {"balanced": {"balance": "epochs"}}


def config_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record's settings by today's names; null, which meant a default, is left out."""
    config: dict[str, Any] = record["config"]
    known = {_RENAMED.get(k, k): v for k, v in config.items() if v is not None}
    return identifying(_BEFORE.get(record["strategy"], {}) | known)
