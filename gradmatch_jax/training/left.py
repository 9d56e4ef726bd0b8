"""An epoch that is left between two steps, to be gone on with: here, or in another process.

Its order, its examples and each step's randomness are its key's, so what is left is a number of
steps, and what the end of the epoch needs of its beginning.
"""

import io
import json
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped


class Begun(NamedTuple):
    """The first steps of an epoch."""

    steps: int
    losses: Float[np.ndarray, "steps"]  # of each
    recorded: dict[str, Shaped[np.ndarray, "m ..."]]  # of each example, in the order of the epoch


class Left(NamedTuple):
    """An epoch in its middle: all that the run's state does not say of it."""

    begun: Begun
    row: dict[str, Any]  # what is known of its row of the log


class Paused(Exception):
    """An epoch of SGD was left between two steps: the learner there, and what there was so far."""

    def __init__(self, learner: Any, begun: Begun):
        """Of an epoch that is not at its end."""
        super().__init__(f"left after {begun.steps} steps")
        self.learner, self.begun = learner, begun


def packed(left: Left | None) -> bytes:
    """For a file, or for another process; None is no bytes.

    >>> left = Left(Begun(1, np.ones(1, np.float32), {"a": np.arange(2)}), {"lr": 0.1})
    >>> unpacked(packed(left)).begun.recorded["a"].tolist(), unpacked(packed(None))
    ([0, 1], None)
    """
    if left is None:
        return b""
    arrays = {"losses": left.begun.losses}
    arrays |= {f"recorded {name}": x for name, x in left.begun.recorded.items()}
    kinds = {name: (x.dtype.name, x.shape) for name, x in arrays.items()}
    head = json.dumps({"steps": left.begun.steps, "row": left.row, "kinds": kinds})
    # As bytes: a file of NumPy's forgets what bfloat16 is.
    plain = {name: np.frombuffer(x.tobytes(), np.uint8) for name, x in arrays.items()}
    stream = io.BytesIO()
    np.savez(stream, head=np.frombuffer(head.encode(), np.uint8), **plain)  # pyright: ignore
    return stream.getvalue()


def unpacked(content: bytes) -> Left | None:
    """What was packed."""
    if not content:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        head = json.loads(file["head"].tobytes())
        arrays = {
            name: np.frombuffer(file[name].tobytes(), np.dtype(kind)).reshape(shape)
            for name, (kind, shape) in head["kinds"].items()
        }
    losses = arrays.pop("losses")
    recorded = {name.removeprefix("recorded "): x for name, x in arrays.items()}
    return Left(Begun(head["steps"], losses, recorded), head["row"])
