"""Weighted rows for grain, and for whatever reads a source by position.

```
rows, weights = selector(epoch, forward)
dataset = grain.MapDataset.source(WeightedSource(source, rows, weights)).shuffle(seed=epoch)
for x, y, w in dataset.batch(20):
    ...
```

grain itself is not imported here: a source of its is anything with a length and items by position.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, as_array
from gradmatch_jax.inputs.labels import as_indices

__all__ = ["WeightedSource"]


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
