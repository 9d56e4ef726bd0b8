"""Where arrays lie: one mesh over all devices, made once; on a single device nothing is placed.

    replicated   the networks, their momentum, inputs in memory, labels
    split        a mini-batch, by its rows; a pass, by its rows, and what it gives to a selection

The steps are the same programs everywhere. What they compute is defined over the whole mini-batch,
batch norm's statistics and the mean loss among them, and XLA divides the work by where the inputs
lie: one sum of the gradients over the devices a step. A mini-batch is split over as many devices as
divide it evenly: 24 rows over 8 devices by three, 20 over four of them, each done twice, and a
ragged tail of 7 over none, done everywhere. No row is padded, for a padded one would count in batch
norm's statistics: the answer does not depend on how many devices there are.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Shaped

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import AnyArray, is_split
from gradmatch_jax.training.plain import is_key, with_keys

AXIS = "rows"


class Placement(NamedTuple):
    """Of a run: its mesh, None on one device, where everything stays as it is."""

    mesh: Mesh | None = None

    @property
    def devices(self) -> int:
        """How many there are."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def outputs(self) -> dict[str, Any]:
        """What `jax.jit` is told of a step's outputs: they come whole to every device."""
        return {} if self.mesh is None else {"out_shardings": self.whole}

    @property
    def whole(self) -> NamedSharding:
        """The sharding of an array that every device has all of."""
        assert self.mesh is not None
        return NamedSharding(self.mesh, PartitionSpec())

    def rows(self, count: int, axis: int = 0) -> NamedSharding:
        """The sharding of `count` rows over as many devices as divide them evenly."""
        assert self.mesh is not None
        return _rows(self.mesh, math.gcd(count, self.mesh.size), axis)

    def evenly(self, shape: tuple[int, int]) -> NamedSharding:
        """The sharding of an array that no device need have all of.

        By rows, where the devices divide them; else by columns, where more devices divide those.
        """
        assert self.mesh is not None
        parts = [math.gcd(count, self.mesh.size) for count in shape]
        axis = int(parts[1] > parts[0])
        return self.rows(shape[axis], axis)

    def gathered(self, tree: Any) -> Any:
        """Arrays that are split over the devices, on every one; all else stays."""
        if self.mesh is None:
            return tree

        def whole(x: Any) -> Any:
            return jax.jit(lambda x: x, out_shardings=self.whole)(x) if is_split(x) else x

        return jax.tree.map(whole, tree)

    def replicate(self, tree: Any) -> Any:
        """The arrays of `tree` on every device; what is no array stays."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: self._put(x, self.whole), tree)

    def beside(self, x: jax.Array, every: np.ndarray) -> jax.Array:
        """What every process has, on every device of the mesh that `x` lies on.

        Arrays of several meshes over the same devices do not go together in all of JAX.
        """
        if self.mesh is None:
            return jax.numpy.asarray(every)
        assert isinstance(x.sharding, NamedSharding)
        return self._put(every, NamedSharding(x.sharding.mesh, PartitionSpec()))

    def split(self, x: AnyArray, axis: int = 0) -> AnyArray:
        """Rows that every process has, each device getting its own."""
        return x if self.mesh is None else self._put(np.asarray(x), self.rows(x.shape[axis], axis))

    def _put(self, x: Any, sharding: NamedSharding) -> Any:
        if not isinstance(x, jax.Array | np.ndarray):
            return x
        if is_key(x):
            return with_keys(self._put(jax.random.key_data(x), sharding), x)
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        if sharding.is_fully_addressable:
            return jax.device_put(x, sharding)
        x = np.asarray(x)  # no word to the other processes, which have the same
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    def own(self, count: int) -> Int[np.ndarray, "m"]:
        """Of `count` rows that are split, those of this process's devices."""
        if self.mesh is None:
            return np.arange(count)
        at = self.rows(count).addressable_devices_indices_map((count,)).values()
        return np.unique(np.concatenate([np.arange(count)[index] for index in at]))

    def of_own(self, x: Shaped[np.ndarray, "m ..."], count: int) -> Shaped[Array, "n ..."]:
        """`count` rows, split, of which every process has its `own`."""
        if self.mesh is None:
            return jax.device_put(x)
        own = self.own(count)

        def part(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(count)
            return x[slice(*np.searchsorted(own, (start, stop)))]

        return jax.make_array_from_callback((count, *x.shape[1:]), self.rows(count), part)

    def by_rows(self, function: Callable) -> Callable:
        """`function(whole, rows, whole)` with each device on its own rows: no device waits.

        It is jitted. Its outputs are rows; on several devices they lie where they were made.
        """
        if self.mesh is None:
            return jax.jit(function)
        rows, whole = PartitionSpec(AXIS), PartitionSpec()
        return jax.jit(
            jax.shard_map(
                function,
                mesh=self.mesh,
                in_specs=(whole, rows, whole),
                out_specs=rows,
                check_vma=False,
            )
        )


ONE = Placement()


def everywhere(count: int = 0) -> Placement:
    """The first `count` devices, 0 for all; of several processes all devices, whatever the count.

    Raises:
        UserError: there are not so many.
    """
    devices = np.asarray(jax.devices())
    if count and jax.process_count() == 1:
        if count > devices.size:
            raise UserError(f"--devices {count}: there are {devices.size} here")
        devices = devices[:count]
    if devices.size == 1:
        return ONE
    return Placement(Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,)))


@lru_cache(maxsize=64)
def _rows(mesh: Mesh, parts: int, axis: int) -> NamedSharding:
    """The sharding by `parts` along an axis, each part on mesh.size / parts devices."""
    if parts == 1:
        return NamedSharding(mesh, PartitionSpec())
    spec = PartitionSpec(*(None,) * axis, AXIS)
    if parts == mesh.size:
        return NamedSharding(mesh, spec)
    devices = mesh.devices.reshape(parts, -1)
    return NamedSharding(Mesh(devices, (AXIS, "copies"), axis_types=(AxisType.Auto,) * 2), spec)
