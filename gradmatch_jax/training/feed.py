"""Inputs on their way to the device: resident arrays, or streams read one batch ahead."""

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from gradmatch_jax.data import Dataset, Split
from gradmatch_jax.models.spec import InputSpec
from gradmatch_jax.training.placement import ONE, Placement
from gradmatch_jax.training.presets import AUTO, PRESETS, model_for


def input_spec(dataset: Dataset) -> InputSpec:
    """What a model of this data set takes: its inputs as `prepare` makes them."""
    raw = jax.ShapeDtypeStruct((1, *dataset.train.shape), dataset.train.dtype)
    made = jax.eval_shape(functools.partial(dataset.prepare, None), raw)
    return InputSpec(made.shape[1:], made.dtype.name, len(dataset.vocabulary))


def default_model(dataset: Dataset) -> str:
    """The model of a data set for which none was asked: its preset's, or its inputs' kind's.

    Images get resnet18, or lenet where they are few or small; rows of numbers mlp, token ids
    embedding-bag.
    """
    preset = PRESETS.get(dataset.name)
    if preset is not None and preset.model != AUTO:
        return preset.model
    spec = input_spec(dataset)
    return model_for(spec.kind, len(dataset.train), math.prod(spec.shape))


class Batch(NamedTuple):
    """A batch as the jitted steps take it: rows of a pool of raw inputs.

    For inputs in memory the pool is the whole split on the device and `rows` picks from it; for a
    stream the pool is the batch and `rows` counts up. One compiled step serves both. On several
    devices a stream's pool is split by its rows, and `rows` is None: all of them, where they lie.
    """

    pool: Shaped[Array, "p ..."]
    rows: Int[np.ndarray, "b"] | Int[Array, "b"] | None


class Feed:
    """A split's inputs for the device, resident or streamed; for several, by `place`."""

    def __init__(self, split: Split, place: Placement = ONE):
        self.place = place
        self._split = split
        self._resident = place.replicate(jnp.asarray(split.inputs)) if split.in_memory else None
        self.labels = place.replicate(jnp.asarray(split.labels))
        self.host_labels = np.asarray(split.labels)

    def __len__(self) -> int:
        return len(self._split)

    @property
    def resident(self) -> bool:
        """Whether all inputs are on the device."""
        return self._resident is not None

    def batches(self, order: Int[np.ndarray, "k"], batch_size: int) -> Iterator[Batch]:
        """`order` in batches, the last one ragged. Streams read the next batch meanwhile."""
        order = np.asarray(order)
        parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if self._resident is not None:
            for part in parts:
                yield Batch(self._resident, self.place.split(part))
            return
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self._read, parts[0]) if parts else None
            for i, part in enumerate(parts):
                assert pending is not None
                inputs = pending.result()
                if i + 1 < len(parts):
                    pending = ahead.submit(self._read, parts[i + 1])
                if isinstance(inputs, jax.Array):
                    yield Batch(inputs, None)
                else:
                    yield Batch(jax.device_put(inputs), np.arange(len(part), dtype=np.int32))

    def _read(self, rows: Int[np.ndarray, "b"]) -> Shaped[np.ndarray, "b ..."] | Array:
        take = self._split.take
        return take(rows) if self.place.mesh is None else self.place.read(take, rows)
