"""What makes a run this one, beside its configuration: its data, its network, its strategy."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gradmatch_jax.data import Dataset, Split
from gradmatch_jax.strategies.registry import Entry
from gradmatch_jax.strategies.strategy import Strategy
from gradmatch_jax.training.state import TrainState


def identity(
    dataset: Dataset, network: str, state: TrainState, own: Entry | Strategy | Callable | None
) -> dict[str, str]:
    """Facts in words, by name: a run that is taken up again must agree in each.

    Checksums are of every input in memory, at about 1 GB a second, and of all labels; of a stream,
    which would have to be read through, its count and shape.

    Args:
        dataset: what it trains on.
        network: the model's name.
        state: what it starts from, whose shapes count.
        own: the strategy, where it is the user's own.
    """
    facts = {"classes": str(dataset.num_classes)}
    for part in ("train", "validation", "test"):
        facts |= {f"{part} {name}": value for name, value in _split(getattr(dataset, part)).items()}
    facts["network"] = f"{network}: {_shapes(_parameters(state))}"
    facts["strategy's state"] = _shapes(state.strategy)
    if own is not None:
        facts["strategy's function"] = _name(own)
    return facts


def _split(split: Split) -> dict[str, str]:
    found = {
        "set": f"{len(split)} of {split.dtype} {tuple(split.shape)}",
        "labels": _checksum(split.labels),
    }
    if isinstance(split.inputs, np.ndarray):
        found["inputs"] = _checksum(split.inputs)
    return found


def _checksum(array: np.ndarray) -> str:
    made = hashlib.blake2b(digest_size=8)
    step = max(1, 2**24 // max(1, array[:1].nbytes))  # no copy of all of a strided array
    for start in range(0, len(array), step):
        made.update(np.ascontiguousarray(array[start : start + step]).view(np.uint8).data)
    return made.hexdigest()


def _parameters(state: TrainState) -> dict[str, Any]:
    return {name: learner.variables.params for name, learner in state.networks.items()}


def _shapes(tree: Any) -> str:
    """How many numbers in how many arrays, and a checksum of their names, shapes and types."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    sizes = [int(np.prod(np.shape(leaf))) for _, leaf in leaves]
    form = [f"{jax.tree_util.keystr(path)} {np.shape(leaf)}" for path, leaf in leaves]
    made = hashlib.blake2b("\n".join(form).encode(), digest_size=4).hexdigest()
    return f"{sum(sizes)} numbers in {len(sizes)} arrays ({made})"


def _name(own: Entry | Strategy | Callable) -> str:
    """The name of the function that the strategy is, or is made by."""
    function: Any = own
    if isinstance(own, Entry):
        function = own.build
    elif isinstance(own, Strategy):
        function = own.select
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, str):  # "module:function" of this package
        return function
    return getattr(function, "__qualname__", type(function).__qualname__)
