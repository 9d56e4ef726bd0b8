"""What a selector remembers, and the same as plain arrays for a checkpoint of any kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.strategy import Seen, State

FLAGS = ("epoch", "observed", "selected")


@dataclass
class Memory:
    """The one thing of a selector that changes.

    epoch: the last one asked for; -1 before the first.
    observed: whether anything was, ever. selected: whether anything was.
    seen: what was observed since the last call, in order.
    """

    epoch: int
    observed: bool
    selected: bool
    selection: Selection
    strategy: State
    seen: list[Seen]


def packed(memory: Memory) -> dict[str, np.ndarray]:
    """The memory as NumPy arrays by name, its own copies."""
    arrays = {name: np.array(int(getattr(memory, name)), np.int64) for name in FLAGS}
    for part in ("selection", "strategy"):
        for i, leaf in enumerate(jax.tree.leaves(getattr(memory, part))):
            arrays[f"{part}/{i}"] = np.array(leaf)
    for i, seen in enumerate(memory.seen):
        arrays[f"seen/{i}/rows"] = np.array(seen.indices)
        for name, value in seen.recorded.items():
            arrays[f"seen/{i}/of/{name}"] = np.array(value)
    return arrays


def unpacked(arrays: Mapping[str, Any], like: Memory) -> Memory:
    """The inverse of `packed`, for a selector whose memory has the form of `like`.

    Raises:
        UserError: arrays that are missing, or of other shapes.
    """
    try:
        flags = {name: int(np.asarray(arrays[name])) for name in FLAGS}
        selection, strategy = (
            _filled(arrays, part, getattr(like, part)) for part in ("selection", "strategy")
        )
        seen = _seen(arrays)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"state is none that state() gave: {error}") from error
    epoch, observed, selected = (flags[name] for name in FLAGS)
    return Memory(epoch, bool(observed), bool(selected), selection, strategy, seen)


def _filled(arrays: Mapping[str, Any], part: str, template: Any) -> Any:
    """A pytree like `template` with the leaves of `arrays`; sizes of a selection may differ."""
    leaves, form = jax.tree.flatten(template)
    found = []
    for i, leaf in enumerate(leaves):
        array = np.asarray(arrays[f"{part}/{i}"], np.asarray(leaf).dtype)
        fixed = part == "strategy"
        if array.ndim != np.ndim(leaf) or (fixed and array.shape != np.shape(leaf)):
            raise ValueError(f"{part} is {array.shape}, not {np.shape(leaf)}")
        found.append(jnp.asarray(array))
    return jax.tree.unflatten(form, found)


def _seen(arrays: Mapping[str, Any]) -> list[Seen]:
    parts: list[Seen] = []
    while f"seen/{len(parts)}/rows" in arrays:
        prefix = f"seen/{len(parts)}/of/"
        recorded = {
            name.removeprefix(prefix): np.asarray(value)
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        parts.append(Seen(np.asarray(arrays[f"seen/{len(parts)}/rows"], np.int32), recorded))
    return parts
