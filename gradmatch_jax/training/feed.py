"""Images on their way to the device: resident arrays, or streams decoded one batch ahead."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from gradmatch_jax.data import Split


class Batch(NamedTuple):
    """A batch as the jitted steps take it: rows of a pool of images.

    For images in memory the pool is the whole split on the device and `rows` picks from it; for a
    stream the pool is the decoded batch and `rows` counts up. One compiled step serves both.
    """

    pool: UInt8[Array, "p h w c"]
    rows: Int[np.ndarray, "b"]


class Feed:
    """A split's images for the device, resident or streamed."""

    def __init__(self, split: Split):
        self._split = split
        self._resident = jnp.asarray(split.images) if split.in_memory else None
        self.labels = jnp.asarray(split.labels)
        self.host_labels = np.asarray(split.labels)

    def __len__(self) -> int:
        return len(self._split)

    @property
    def resident(self) -> bool:
        """Whether all images are on the device."""
        return self._resident is not None

    def batches(self, order: Int[np.ndarray, "k"], batch_size: int) -> Iterator[Batch]:
        """`order` in batches, the last one ragged. Streams decode the next batch meanwhile."""
        order = np.asarray(order)
        parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if self._resident is not None:
            for part in parts:
                yield Batch(self._resident, part)
            return
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self._split.take, parts[0]) if parts else None
            for i, part in enumerate(parts):
                assert pending is not None
                images = pending.result()
                if i + 1 < len(parts):
                    pending = ahead.submit(self._split.take, parts[i + 1])
                yield Batch(jax.device_put(images), np.arange(len(part), dtype=np.int32))
