"""The shapes of what a run writes, in one place, and a check of files against them.

| file | shape |
| --- | --- |
| result.json | `ResultRecord` |
| metrics.jsonl, each line | `EpochRecord` |
| selection.npz | `SelectionArrays` |
| failed.json (a run of a comparison or sweep that came to nothing) | `FailureRecord` |
| compare.json | `CompareRecord` |

JSON has no nan: a number that is none is null. No JAX here.
"""

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, is_typeddict

import numpy as np
from jaxtyping import Float, Integer


class SelectionRecord(TypedDict):
    """A selection's diagnostics, in the epoch that it was made in."""

    size: int
    num_matched: int  # of these, chosen by matching; the others fill the budget
    matching_error: float | None  # relative to the target; None where nothing is matched
    seconds: float  # compilation apart
    stopped: NotRequired[str | None]  # why matching ended before its budget
    effective_size: NotRequired[float]  # equal weights that these are worth


class EpochRecord(TypedDict):
    """One epoch. Seconds, joules and compilation are the run's sums so far."""

    epoch: int
    full: bool  # on all the data
    proxy: bool  # of the network that only scores
    lr: float
    train_loss: float | None
    examples: int  # seen in this epoch
    joules: float | None
    train_seconds: float
    selection_seconds: float
    compile_seconds: float
    selection: NotRequired[SelectionRecord]  # where one was made
    test_accuracy: NotRequired[float]  # percent, where it was tested
    validation_accuracy: NotRequired[float]


class ResultRecord(TypedDict):
    """What a finished run came to."""

    test_accuracy: float  # percent, after the last epoch
    validation_accuracy: float
    train_seconds: float
    selection_seconds: float
    compile_seconds: float
    joules: float | None
    energy_source: str
    epochs: int  # of the network itself
    full_epochs: int
    proxy_epochs: int
    examples: int  # seen in all, the proxy's included
    train_size: int
    subset_size: int
    num_matched: list[int]  # one a selection
    matching_error: list[float | None]
    stopped: NotRequired[list[str | None]]
    warning: NotRequired[str | None]  # what looks wrong with it
    strategy: str
    fraction: float
    warm: bool
    seed: int
    dataset: str
    model: str
    versions: dict[str, str]
    device: str


class SelectionArrays(TypedDict):
    """What was selected, in the user's row numbers: as the data were handed over, before anything
    was held out or cut. Weights are as the method gave them."""

    indices: Integer[np.ndarray, " k"]  # the last selection's
    weights: Float[np.ndarray, " k"]
    history_indices: Integer[np.ndarray, " m"]  # all selections', one after another
    history_weights: Float[np.ndarray, " m"]
    history_epochs: Integer[np.ndarray, " m"]  # the epoch that each is the selection of
    train_rows: Integer[np.ndarray, " n"]  # the user's row of each row of the training split
    validation_rows: Integer[np.ndarray, " v"]


class FailureRecord(TypedDict):
    """Why a run has no result."""

    kind: Literal["diverged", "failed"]
    reason: str
    epoch: int  # epochs done before


class ComparedRun(ResultRecord):
    """A finished run among those compared."""

    batch_size: int
    folder: str


class FailedRun(TypedDict):
    """A run without a result among those compared."""

    strategy: str
    fraction: float
    warm: bool
    seed: int
    dataset: str
    model: str
    batch_size: int
    folder: str
    failed: FailureRecord


class ComparedRow(TypedDict):
    """A line of the comparison's table; figures are means over seeds, None where no run ended."""

    label: str
    fraction: float
    n: int
    accuracy: float | None
    accuracy_std: float | None
    drop: float | None
    seconds: float | None
    seconds_std: float | None
    selection_seconds: float | None
    speedup: float | None
    ceiling: float | None
    matching_error: float | None
    compile_seconds: float | None
    failures: list[str]
    diverged: bool
    stopped: list[str]
    warnings: list[str]


class CompareRecord(TypedDict):
    """compare.json."""

    settings: dict[str, Any]
    rows: list[ComparedRow]
    runs: list[ComparedRun | FailedRun]
    wall_seconds: float | None  # of all that made them; None where it is not known


def mismatches(value: Any, shape: Any, where: str = "record") -> list[str]:
    """Where `value` departs from `shape`, a line a place; nothing where it fits.

    Args:
        value: what was read: of a JSON file, or arrays by name.
        shape: one of this module's shapes, or any annotation that they are made of.
        where: what the value is called in the lines.

    Returns:
        Fields missing, fields unknown, values of other types, each with its place.

    Example:
        >>> mismatches({"kind": "failed", "reason": "no memory"}, FailureRecord)
        ['record.epoch is missing']
        >>> mismatches({"kind": "odd", "reason": "", "epoch": 3}, FailureRecord, "failed.json")
        ["failed.json.kind is 'odd', no Literal['diverged', 'failed']"]
    """
    if is_typeddict(shape):
        return _field_mismatches(value, shape, where)
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if origin in (types.UnionType, typing.Union):
        found = [mismatches(value, one, where) for one in arguments]
        return min(found, key=len)
    if origin is list and isinstance(value, list):
        parts = (mismatches(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
        return [line for part in parts for line in part]
    if origin is dict and isinstance(value, dict):
        parts = (mismatches(v, arguments[1], f"{where}.{k}") for k, v in value.items())
        return [line for part in parts for line in part]
    return [] if _fits(value, shape, origin) else [f"{where} is {value!r}, no {_name(shape)}"]


def _field_mismatches(value: Any, shape: Any, where: str) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{where} is {value!r}, no {shape.__name__}"]
    fields = typing.get_type_hints(shape)
    lines = [f"{where}.{k} is missing" for k in sorted(shape.__required_keys__ - value.keys())]
    lines += [f"{where}.{k} is unknown" for k in sorted(value.keys() - fields.keys())]
    for name, kind in fields.items():
        if name in value:
            lines += mismatches(value[name], kind, f"{where}.{name}")
    return lines


def _fits(value: Any, shape: Any, origin: Any) -> bool:
    if shape is Any:
        return True
    if origin is Literal:
        return value in typing.get_args(shape)
    if origin is not None:  # a list or dict that the value is not
        return False
    if shape in (int, float):  # JSON writes a whole float as it likes; a bool is neither
        kinds = int if shape is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, shape)


def _name(shape: Any) -> str:
    if typing.get_origin(shape) is not None:
        return str(shape).removeprefix("typing.")
    return getattr(shape, "__name__", str(shape))
