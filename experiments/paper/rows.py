"""Which runs are of one row: the same strategy, fraction and settings, seeds apart."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.runs import config_of
from gradmatch_jax.report.summary import label_of
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.sweep import identity
from gradmatch_jax.training.config import TrainConfig

Run = dict[str, Any]


class Key(NamedTuple):
    """What the runs of a row share."""

    fraction: float
    name: str
    settings: str = ""  # those that tell them from other runs; see `grouped`
    device: str = ""  # where a run of the same seed was made on another as well


def label(run: Run) -> str:
    """What the run's strategy is called: NAME-warm."""
    return label_of(run["strategy"], run["warm"])


def device_of(run: Run) -> str:
    return run.get("device", "")


def place_of(run: Run) -> str:
    """The device without the mark after its comma, which says what disturbed the run's seconds.

    >>> place_of({"device": "AMD EPYC (1 cores), paused on the way"})
    'AMD EPYC (1 cores)'
    """
    return device_of(run).partition(", ")[0]


def paused(run: Run) -> bool:
    """Whether the run's process stood still for a while, which its seconds count as work."""
    return _disturbed(device_of(run)) == _PAUSED


_PAUSED = 2


def _disturbed(device: str) -> int:
    """0 where nothing is marked, 1 where others ran beside, `_PAUSED` where it stood still."""
    mark = device.partition(", ")[2]
    return _PAUSED if "paused" in mark else int(bool(mark))


def timing_device(runs: Sequence[Run]) -> str:
    """Whose seconds stand for these runs': an undisturbed device before a marked one, then the one
    that most are of, the first of equal ones."""
    devices = Counter(map(device_of, runs))
    return min(devices, key=lambda device: (_disturbed(device), -devices[device]), default="")


def of_one_device(runs: Sequence[Run]) -> list[Run]:
    """Those whose seconds have a mean: `timing_device`'s. None where all were paused.

    >>> def on(*devices):
    ...     runs = [{"seed": i, "device": device} for i, device in enumerate(devices)]
    ...     return [run["seed"] for run in of_one_device(runs)]
    >>> on("a", "b", "b"), on("a", "b, shared", "b, shared"), on("a, paused")
    ([1, 2], [0], [])
    """
    chosen = timing_device(runs)
    return [run for run in runs if device_of(run) == chosen and not paused(run)]


def of_same_seeds(full: list[Run], ours: list[Run]) -> tuple[list[Run], list[Run]]:
    """Both, of the seeds that both have; all of them where there are none."""
    both = {run["seed"] for run in full} & {run["seed"] for run in ours}
    if not both:
        return full, ours
    return [r for r in full if r["seed"] in both], [r for r in ours if r["seed"] in both]


def grouped(runs: Sequence[Run]) -> dict[Key, list[Run]]:
    """The runs of each row, in the file's order.

    A row names the settings that other runs of its strategy and fraction have otherwise, and those
    that are not the default where another row's are: what all of a file have, its title says.
    """
    apart = _departures(runs)
    named: dict[tuple[float, str], list[Run]] = {}
    for run in runs:
        named.setdefault((run["fraction"], label(run)), []).append(run)
    groups: dict[Key, list[Run]] = {}
    for (fraction, name), members in named.items():
        configs = [settings_of(run) for run in members]
        known = dict.fromkeys(itertools.chain.from_iterable(configs))
        varied = [
            k
            for k in known
            if any(c.get(k) != configs[0].get(k) for c in configs)
            or (k in apart and configs[0][k] != _DEFAULTS[k])
        ]
        rows: dict[str, list[Run]] = {}
        for run, config in zip(members, configs, strict=True):
            rows.setdefault(", ".join(f"{k} {config.get(k)}" for k in varied), []).append(run)
        for settings, row in rows.items():
            for device, alike in _apart(row).items():
                groups[Key(fraction, name, settings, device)] = alike
    return groups


# A revision that had no fill had the plain one.
_DEFAULTS = identity(TrainConfig()) | {"fill": MatchingOptions().fill}


def _departures(runs: Sequence[Run]) -> set[str]:
    """The settings with a default that some run has otherwise than another.

    Without a default of TrainConfig's a setting follows from the strategy or the data.
    """
    found: dict[str, set[str]] = {}
    for run in runs:
        for name, value in settings_of(run).items():
            if name in _DEFAULTS:
                found.setdefault(name, set()).add(str(value))
    return {name for name, values in found.items() if len(values) > 1}


def _apart(row: list[Run]) -> dict[str, list[Run]]:
    """A row's runs by device, where two have made the same; else all of them, of no device.

    Of a seed that one device has twice the first: it is no second seed.
    """
    once = {(run.get("seed"), device_of(run)): run for run in reversed(row)}
    again = len({seed for seed, _ in once}) < len(once)
    found: dict[str, list[Run]] = {}
    for run in reversed(once.values()):
        found.setdefault(device_of(run) if again else "", []).append(run)
    return found


def settings_of(run: Run) -> dict[str, Any]:
    """The run's configuration but what its row names and its seed; the default for what its
    revision did not have, or what does not apply to it."""
    config = _DEFAULTS | config_of(run)
    return {k: v for k, v in config.items() if k not in ("strategy", "fraction", "warm", "seed")}
