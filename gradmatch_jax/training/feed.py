"""Inputs on their way to the device: resident arrays, or streams that grain reads ahead."""

import functools
import math
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from gradmatch_jax.data import Dataset, Prepare, Split
from gradmatch_jax.data.ahead import each_ahead, require_grain
from gradmatch_jax.models.spec import InputSpec
from gradmatch_jax.training.placement import ONE, Placement
from gradmatch_jax.training.presets import AUTO, PRESETS, model_for
from gradmatch_jax.training.reading import USUAL, ReadSettings


def input_spec(dataset: Dataset) -> InputSpec:
    """What a model of this data set takes: its inputs as `prepare` makes them."""
    train = dataset.train
    return _spec(
        dataset.prepare, tuple(train.shape), np.dtype(train.dtype), len(dataset.vocabulary)
    )


@functools.lru_cache(maxsize=16)  # it traces, and a run asks several times
def _spec(prepare: Prepare, shape: tuple[int, ...], dtype: np.dtype, vocabulary: int) -> InputSpec:
    raw = jax.ShapeDtypeStruct((1, *shape), dtype)
    made = jax.eval_shape(functools.partial(prepare, None), raw)
    return InputSpec(made.shape[1:], made.dtype.name, vocabulary)


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

    def __init__(self, split: Split, place: Placement = ONE, reading: ReadSettings = USUAL):
        """Resident inputs go to the device here.

        Raises:
            UserError: a stream, and grain is missing.
        """
        self.place = place
        self._inputs = split.inputs
        self._how = {
            "threads": reading.read_threads,
            "ahead": reading.read_ahead,
            "workers": reading.read_workers,
        }
        self._resident = None
        if isinstance(split.inputs, np.ndarray):
            self._resident = place.replicate(jnp.asarray(split.inputs))
        else:
            require_grain()
        self.labels = place.replicate(jnp.asarray(split.labels))
        self.host_labels = np.asarray(split.labels)

    def __len__(self) -> int:
        return len(self.host_labels)

    @property
    def resident(self) -> bool:
        """Whether all inputs are on the device."""
        return self._resident is not None

    def batches(self, order: Int[np.ndarray, "k"], batch_size: int) -> Generator[Batch, None, None]:
        """`order` in batches, the last one ragged. Of a stream a process reads its own rows.

        Close it where it is left early: what reads ahead ends with it.
        """
        order = np.asarray(order)
        parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if self._resident is not None:
            for part in parts:
                yield Batch(self._resident, self.place.split(part))
            return
        assert not isinstance(self._inputs, np.ndarray)
        own = {count: self.place.own(count) for count in {len(part) for part in parts}}
        mine = [part[own[len(part)]] for part in parts]
        with closing(each_ahead(self._inputs, mine, **self._how)) as made:
            for part, inputs in zip(parts, made, strict=True):
                yield self._on_device(inputs, len(part))

    def _on_device(self, inputs: Shaped[np.ndarray, "m ..."], count: int) -> Batch:
        pool = self.place.of_own(inputs, count)
        alone = self.place.mesh is None
        return Batch(pool, np.arange(count, dtype=np.int32) if alone else None)
