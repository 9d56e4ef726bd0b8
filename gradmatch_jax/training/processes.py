"""Several processes, one run: each does the same, and what only one can know it tells the others.

All processes call the same compiled programs in the same order, so whatever decides what comes next
must be the same everywhere. What may differ, the clock, the meter and whether a signal came, is
process 0's to say, once an epoch. Process 0 alone has the run's folder; the others need not see it.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gradmatch_jax.training.placement import Placement
from gradmatch_jax.training.plain import on_host, with_keys


def alone() -> bool:
    """Whether there is one process."""
    return jax.process_count() == 1


def first() -> bool:
    """Whether this one has the run's folder, log and report."""
    return jax.process_index() == 0


def any_of(flag: bool) -> bool:
    """Whether any process says so."""
    if alone():
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag, np.uint8))))


def agreed(tree: Any) -> Any:
    """Process 0's arrays and numbers, to the bit, in a tree of the same shapes on all.

    They are on the host; numbers stay numbers.
    """
    if alone():
        return tree
    leaves, structure = jax.tree.flatten(on_host(tree))
    arrays = [np.asarray(leaf) for leaf in leaves]
    # As bytes: what is sent as numbers is cut to float32.
    sent = np.concatenate([np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in arrays])
    got, found = np.asarray(multihost_utils.broadcast_one_to_all(sent), np.uint8), []
    for leaf, x in zip(leaves, arrays, strict=True):
        part, got = got[: x.nbytes], got[x.nbytes :]
        value = part.view(x.dtype).reshape(x.shape)
        found.append(value if isinstance(leaf, np.ndarray) else type(leaf)(value.item()))
    return jax.tree.unflatten(structure, found)


def shared(state: Any, place: Placement) -> Any:
    """Process 0's state, on every device of every process."""
    if alone():
        return state
    return place.replicate(with_keys(agreed(state), state))


def sent(word: bytes) -> bytes:
    """Process 0's bytes, however many, on all of them."""
    if alone():
        return word
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(word), np.int32)))
    if size == 0:
        return b""
    room = np.frombuffer(word.ljust(size, b"\0")[:size], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(room), np.uint8).tobytes()


def agreed_bytes(word: bytes, room: int = 512) -> bytes:
    """Process 0's word on all of them; at most `room` bytes, none of them 0."""
    sent = np.frombuffer(word.ljust(room, b"\0"), np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent), np.uint8)).rstrip(b"\0")
