"""A strategy of the user's own, and what it returns, checked before SGD trains on it."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import short
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.registry import Entry
from gradmatch_jax.strategies.strategy import State, Strategy, Task

OWN = "own"  # the name of a strategy that was handed over without one
# A strategy as it is handed over: a registry line, a function of the task, or the object itself.
OwnStrategy = Entry | Strategy | Callable[[Task], Strategy]


def as_entry(strategy: Any) -> Entry:
    """The registry line of a strategy that is in no registry.

    Raises:
        UserError: it is no strategy.
    """
    if isinstance(strategy, Entry):
        return strategy
    if isinstance(strategy, Strategy):
        made = strategy
        return Entry(lambda task: made, "interval", "of the user's own", "")
    if callable(strategy) and not isinstance(strategy, type) and _takes_a_task(strategy):
        function: Any = strategy
        return Entry(function, "interval", "of the user's own", "")
    raise UserError(
        f"strategy must be a name in the configuration, an Entry, a Strategy or a function of the "
        f"task, not {short(strategy)}"
    )


def _takes_a_task(function: Callable[..., Any]) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except ValueError:  # of what is not written in Python
        return True


def check_answer(name: str, strategy: Strategy, answer: Any, n: int) -> tuple[Selection, State]:
    """The (selection, state) that `strategy.select` returned, if it is what SGD can train on.

    Args:
        name: the strategy's, for the message.
        strategy: says whether it repeats examples or has negative weights.
        answer: what its `select` returned.
        n: how many examples there are.

    Raises:
        UserError: not a pair with a `Selection`, a size that does not fit, indices outside 0..n-1
          or twice, weights that are not finite or negative, entries behind `size` that are no
          padding (-1 and 0).
    """
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Selection)):
        raise UserError(f"strategy {name!r}: select must return (Selection, state)")
    selection, state = answer
    trouble = _trouble(strategy, jax.tree.map(np.asarray, selection), n)
    if trouble:
        raise UserError(f"strategy {name!r} returned a selection that cannot be: {trouble}")
    return selection, state


def _trouble(strategy: Strategy, selection: Selection, n: int) -> str | None:
    indices, weights = selection.indices, selection.weights
    if indices.ndim != 1 or weights.shape != indices.shape:
        return f"indices {indices.shape} and weights {weights.shape}; both must be (k,)"
    if indices.dtype.kind not in "iu":
        return f"indices are {indices.dtype}, not integers"
    if np.ndim(selection.size) or not 0 <= int(selection.size) <= len(indices):
        return f"size {selection.size} of {len(indices)} entries"
    size = int(selection.size)
    real, own = indices[:size], weights[:size].astype(np.float64)
    outside = int(np.sum((real < 0) | (real >= n)))
    if outside:
        return f"{outside} indices lie outside 0..{n - 1}"
    if np.any(indices[size:] != -1) or np.any(weights[size:] != 0):
        return f"past its size of {size}, indices must be -1 and weights 0"
    twice = size - len(np.unique(real))
    if twice and not strategy.repeats:
        return f"{twice} indices stand twice; a strategy that means it says repeats=True"
    if not np.all(np.isfinite(own)):
        return f"{int(np.sum(~np.isfinite(own)))} weights are nan or inf"
    if np.any(own < 0) and not strategy.signed:
        count = int(np.sum(own < 0))
        return f"{count} weights are negative; a strategy that means it says signed=True"
    return None
