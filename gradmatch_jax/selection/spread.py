"""Selection over several devices: where the gradients lie says which; on one, nothing here runs.

    per class      a class's rows are brought to the device that solves its problem, a few classes
                   at a time: one reduce-scatter a round, every other device adding zeros
    whole, GLISTER the atoms stay split by rows; a pick is an argmax over the devices, a sum of its
                   atom's C + W numbers, and a product of each device's own rows
    mini-batches   each device adds up the Gram matrix over its share of the classes and a share of
                   the features at a time: these go round; one sum of b x b numbers, then the picks
                   are every device's own

What a problem is given is what one device would give it: the sums that bring a class's rows are of
one row and zeros, so a class is posed by the same bits. Sums over rows or classes that are
split are rounded in another order.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

WHOLE = PartitionSpec()
LITTLE = 2**26  # bytes of rows that may be brought at a time, however few a device has


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh of several devices that arrays lie on; None for one device, or inside jit.

    Args:
        tree: the gradients of a selection.

    Returns:
        A mesh of one axis, or None.
    """
    for leaf in jax.tree.leaves(tree):
        sharding = None if isinstance(leaf, Tracer) else getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            mesh = sharding.mesh
            if isinstance(mesh, Mesh):
                return mesh if len(mesh.axis_names) == 1 else _in_line(mesh)
    return None


def _in_line(mesh: Mesh) -> Mesh:
    """The same devices, in the same order, on one axis."""
    return Mesh(mesh.devices.reshape(-1), ("rows",), axis_types=(AxisType.Auto,))


def whole(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays that every device is to have all of, inside jit."""
    return tree if mesh is None else lax.with_sharding_constraint(tree, NamedSharding(mesh, WHOLE))


def split_rows(tree: Any, mesh: Mesh | None, axis: int = 0) -> Any:
    """Arrays split along an axis, inside jit, whether the devices divide it or not."""
    if mesh is None:
        return tree
    spec = PartitionSpec(*(None,) * axis, mesh.axis_names[0])
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, spec))


def own_rows(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays of n rows split over the devices, rows of zeros behind until those divide them."""
    if mesh is None:
        return tree
    return split_rows(jax.tree.map(lambda x: padded(x, up_to(x.shape[0], mesh)), tree), mesh)


def to_rows(tree: Any, mesh: Mesh | None) -> Any:
    """`own_rows` before a jitted call, of arrays that lie on the devices in whatever way.

    Within it JAX reads what comes out by the mesh of the first argument, and refuses another's.
    """
    return tree if mesh is None else _mover(mesh, True)(tree)


def to_all(tree: Any, mesh: Mesh | None) -> Any:
    """Likewise, all of them on every device."""
    return tree if mesh is None else _mover(mesh, False)(tree)


@lru_cache(maxsize=16)
def _mover(mesh: Mesh, split: bool) -> Callable[[Any], Any]:
    spec = PartitionSpec(mesh.axis_names[0]) if split else WHOLE

    def moved(tree: Any) -> Any:
        return own_rows(tree, mesh) if split else tree

    return jax.jit(moved, out_shardings=NamedSharding(mesh, spec))


def up_to(size: int, mesh: Mesh | None) -> int:
    """The least size, from `size` on, that the devices divide."""
    return size if mesh is None else -(-size // mesh.size) * mesh.size


def padded(x: Array, size: int, fill: Any = 0, axis: int = 0) -> Array:
    """`x` with `size` rows along an axis."""
    room = [(0, 0)] * x.ndim
    room[axis] = (0, size - x.shape[axis])
    return jnp.pad(x, room, constant_values=fill)


def map_spread(
    solve: Callable,
    rows: Any,
    members: Int[Array, "g m"],
    each: Any,
    at_once: int,
    mesh: Mesh,
) -> Any:
    """`solve(members, each, rows of the members)` of groups, spread over the devices.

    Args:
        solve: of `at_once` groups; what it gives is stacked as `lax.map` does.
        rows: arrays with a row an example.
        members: of each group, -1 where there are fewer; their rows there are 0.
        each: arrays with a row a group.
        at_once: groups that a device solves in one loop, as on one device; fewer where those would
            bring more rows than it has itself, and more than `LITTLE`.
        mesh: of one axis.
    """
    (axis,), devices = mesh.axis_names, mesh.size
    n = up_to(jax.tree.leaves(rows)[0].shape[0], mesh)
    row_bytes = sum(x.dtype.itemsize * math.prod(x.shape[1:]) for x in jax.tree.leaves(rows))
    brought = max(n // devices, LITTLE // row_bytes)
    at_once = max(1, min(at_once, brought // (devices * members.shape[1])))
    rounds = -(-members.shape[0] // (devices * at_once))
    groups = rounds * devices * at_once
    members = padded(members, groups, -1)
    each = jax.tree.map(lambda x: padded(x, groups), each)
    rows = jax.tree.map(lambda x: padded(x, n), rows)

    def by_round(x: Array) -> Array:
        return x.reshape(-1, at_once, *x.shape[1:])

    def here(rows, members, each, everyone):
        first = lax.axis_index(axis) * (n // devices)
        # everyone: the members of every device's groups, (rounds, devices, at_once, m)
        everyone = jnp.swapaxes(everyone.reshape(devices, rounds, at_once, -1), 0, 1)

        def bring(x: Array, wanted: Int[Array, "devices a m"]) -> Array:
            place = wanted - first
            mine = (place >= 0) & (place < x.shape[0])
            found = x[jnp.where(mine, place, 0)]
            mine = mine.reshape(*mine.shape, *(1,) * (x.ndim - 1))
            return lax.psum_scatter(jnp.where(mine, found, 0), axis)

        def one(part):
            own, values, wanted = part
            return solve(own, values, jax.tree.map(partial(bring, wanted=wanted), rows))

        return lax.map(one, (by_round(members), jax.tree.map(by_round, each), everyone))

    split = PartitionSpec(axis)
    spread = jax.shard_map(
        here, mesh=mesh, in_specs=(split, split, split, WHOLE), out_specs=split, check_vma=False
    )
    return spread(rows, members, each, members)


def sum_over_blocks(
    add: Callable[[Array, Array, Array, Array], Any], first: Array, second: Array, mesh: Mesh
) -> Any:
    """`add` of every share of the first array's columns with every one of the second's, summed.

    Rows become columns by an all-to-all each. A device keeps its share of the first; those of the
    second go round in a ring, so that none has all of either.

    Args:
        add: of a share of the first (n, C / D), one of the second, and the numbers of both; columns
            of zeros, with which they are filled up, and rows of zeros add nothing to it.
        first: (n, C).
        second: (n, W); where it has fewer columns than there are devices, it is one share.
        mesh: of one axis, D devices.
    """
    (axis,), devices = mesh.axis_names, mesh.size
    turns = devices if second.shape[1] >= devices else 1
    first, second = own_rows((padded(first, up_to(first.shape[1], mesh), axis=1), second), mesh)
    second = padded(second, -(-second.shape[1] // turns) * turns, axis=1)

    def to_columns(x: Array) -> Array:
        return lax.all_to_all(x, axis, 1, 0, tiled=True)

    def here(first: Array, second: Array):
        own, first = lax.axis_index(axis), to_columns(first)
        second = to_columns(second) if turns > 1 else lax.all_gather(second, axis, tiled=True)

        def turn(t: Array, carry):
            total, block = carry
            number = (own + t.astype(own.dtype)) % devices if turns > 1 else jnp.zeros_like(own)
            made = add(first, block, own, number)
            to_the_left = [(i, (i - 1) % devices) for i in range(devices)]
            block = lax.ppermute(block, axis, to_the_left) if turns > 1 else block
            return jax.tree.map(jnp.add, total, made), block

        shapes = jax.eval_shape(add, first, second, own, own)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        total, _ = lax.fori_loop(0, turns, turn, (nothing, second))
        return lax.psum(total, axis)

    split = PartitionSpec(axis)
    spread = jax.shard_map(
        here, mesh=mesh, in_specs=(split, split), out_specs=WHOLE, check_vma=False
    )
    return spread(first, second)
