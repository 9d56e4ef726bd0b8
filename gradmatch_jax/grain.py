"""Weighted rows for grain, and for whatever reads a source by position.

```
rows, weights = selector(epoch, forward)
dataset = grain.MapDataset.source(WeightedSource(source, rows, weights)).shuffle(seed=epoch)
for x, y, w in dataset.batch(20):
    ...
```

A source of grain's is anything with a length and items by position, so grain itself is imported by
`stream` alone: batches of an `InputSource` (ImageNet's pictures, in folders or array_record), read
and decoded ahead by threads or processes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmatch_jax.data import InputSource, Split
from gradmatch_jax.data.ahead import read_ahead
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, Count, as_array
from gradmatch_jax.inputs.labels import as_indices
from gradmatch_jax.inputs.values import as_count

__all__ = ["WeightedSource", "stream"]


class WeightedSource:
    """The chosen records of a source, each with its weight behind.

    A record that is a mapping gets the field "weight", a tuple one more member.

    Example:
        >>> source = WeightedSource([("a", 0), ("b", 1), ("c", 0)], [2, 0], [1.5, 0.5])
        >>> name, label, weight = source[0]
        >>> len(source), name, label, float(weight)
        (2, 'c', 0, 1.5)
    """

    def __init__(self, source: Any, rows: ArrayLike, weights: ArrayLike):
        """Keep the source and which of its records are chosen.

        Args:
            source: of n records, by position.
            rows: (k,), as a `Selector` gives them.
            weights: (k,).

        Raises:
            UserError: no such source; rows outside it; other lengths.
        """
        if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
            raise UserError("source must have a length and records by position")
        self._source = source
        self._rows = np.asarray(as_indices("rows", rows, len(source)), np.int64)
        self._weights = np.asarray(as_array("weights", weights), np.float32)
        if self._weights.shape != self._rows.shape:
            raise UserError(f"there are {len(self._rows)} rows and weights {self._weights.shape}")

    def __len__(self) -> int:
        """How many records are chosen."""
        return len(self._rows)

    def __getitem__(self, position: Any) -> Any:
        """A record and its weight."""
        record, weight = self._source[int(self._rows[position])], self._weights[position]
        if isinstance(record, Mapping):
            return {**record, "weight": weight}
        return (*record, weight) if isinstance(record, tuple) else (record, weight)


def stream(
    source: InputSource | ArrayLike,
    order: ArrayLike,
    batch_size: Count,
    *,
    threads: Count = 0,
    ahead: Count = 2,
    workers: Count = 0,
) -> Any:
    """Batches of `source` in `order`, made ahead of who asks for them, as `train` reads them.

    What comes is a function of the order alone, whatever makes it. Its `get_state()` after a batch,
    given to `set_state` of another of the same arguments, goes on with the next: mid-epoch, in
    another process. Several hosts each pass their part of the order. Its `close()` ends what reads.

    Args:
        source: of inputs on demand, some by each thread at once, as `Split.inputs` of ImageNet; or
            an array (n, ...) of any library.
        order: (k,), rows of it; of an epoch, by its key.
        batch_size: inputs a batch; the last may be smaller.
        threads: that read and decode, in all processes together; 0 for one a core.
        ahead: batches that are made ahead; this bounds the memory.
        workers: processes that do it; 0 is the caller's own. A script that has any keeps its own
            work under `if __name__ == "__main__"`, for each of them reads it.

    Returns:
        grain's iterator of arrays (b, ...).

    Raises:
        UserError: grain is missing; no source; rows outside it; a count that cannot be.
    """
    source = _as_source(source)
    order = np.asarray(as_indices("order", order, len(source)), np.int64)
    size = as_count("batch_size", batch_size, least=1)
    return read_ahead(
        source,
        [order[start : start + size] for start in range(0, len(order), size)],
        threads=as_count("threads", threads),
        ahead=as_count("ahead", ahead, least=1),
        workers=as_count("workers", workers),
    )


def _as_source(source: Any) -> InputSource:
    """What has `take` as it is, an array as a source of its rows."""
    on_demand = hasattr(source, "take") and hasattr(source, "__len__")
    if on_demand and not hasattr(source, "__array__"):  # an array's own take is of its flat order
        return source
    array = np.asarray(as_array("source", source))
    if array.ndim == 0:
        raise UserError("source must be inputs on demand (InputSource) or an array (n, ...)")
    return Split(array, np.zeros(len(array), np.int32))
