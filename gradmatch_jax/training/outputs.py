"""What a pass over the data gives, on the way from its calls to arrays of all the rows."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Int, Shaped

from gradmatch_jax.errors import UserError
from gradmatch_jax.training.placement import Placement


def by_device(rows: Int[np.ndarray, "n"], devices: int, size: int) -> Int[np.ndarray, "m"]:
    """The order in which calls of `size` rows a device take them, each device its own stretch."""
    share = -(-len(rows) // devices)
    stretches = rows[np.arange(devices * share).reshape(devices, share) % len(rows)]
    whole = np.stack([whole_batches(stretch, size) for stretch in stretches])
    return whole.reshape(devices, -1, size).swapaxes(0, 1).reshape(-1)


def whole_batches(rows: Int[np.ndarray, "n"], batch_size: int) -> Int[np.ndarray, "m"]:
    """`rows` in whole batches, so that one shape is compiled: the last wraps to the first rows."""
    return rows[np.arange(-(-len(rows) // batch_size) * batch_size) % len(rows)]


@functools.partial(jax.jit, static_argnums=2)
def batches_of(pool: Shaped[Array, "p ..."], rows: Int[Array, "m"] | None, batch_size: int):
    """Rows of a pool as (s, b, ...)."""
    raw = pool if rows is None else pool[rows]
    return raw.reshape(-1, batch_size, *pool.shape[1:])


# Logits and features.
Pair = tuple[Array, Array]


def joined(parts: Sequence[Pair], n: int, place: Placement, *, split: bool = False) -> Pair:
    """The n rows of both that the calls of a pass gave, in their own order.

    On several devices they are whole on every one, or split: each then keeps those it made where
    the devices divide n.
    """
    if place.mesh is None:
        return _join(tuple(parts), n)

    def join(parts: tuple[Array, ...]) -> Array:
        sharding = place.evenly((n, parts[0].shape[1])) if split else place.whole
        return _join_to(sharding)(parts, place.devices, n)

    logits, features = zip(*parts, strict=True)
    return join(logits), join(features)


@functools.partial(jax.jit, static_argnums=1)
def _join(parts: tuple[Pair, ...], n: int) -> Pair:
    logits, features = zip(*parts, strict=True)
    return jnp.concatenate(logits)[:n], jnp.concatenate(features)[:n]


@functools.lru_cache(maxsize=32)
def _join_to(sharding: NamedSharding) -> Callable[..., Array]:
    @functools.partial(jax.jit, static_argnums=(1, 2), out_shardings=sharding)
    def join(parts, devices: int, n: int):
        each = [x.reshape(devices, -1, x.shape[1]) for x in parts]
        whole = jnp.concatenate(each, axis=1)[:, : -(-n // devices)]
        return whole.reshape(-1, whole.shape[2])[:n]

    return join


@functools.partial(jax.jit, static_argnums=1)
def narrowed(made: tuple[Array, Array], dtype: str) -> tuple[Array, Array, Array]:
    """Logits and features in a narrower type, and how many of them became infinite by that."""
    logits, features = (x.astype(dtype) for x in made)
    lost = [
        jnp.sum(jnp.isfinite(x) & ~jnp.isfinite(y), dtype=jnp.int32)
        for x, y in zip(made, (logits, features), strict=True)
    ]
    return logits, features, lost[0] + lost[1]


def within_reach(parts: list[tuple[Array, Array, Array]], dtype: str) -> list[tuple[Array, Array]]:
    """What `narrowed` gave of each call, where nothing was lost.

    Raises:
        UserError: numbers that `dtype` does not reach.
    """
    lost = sum(int(count) for *_, count in parts)
    if lost:
        raise UserError(
            f"logits or features of a pass are beyond {dtype}, which ends at "
            f"{float(jnp.finfo(dtype).max):,.0f}: use --pass-dtype bfloat16"
        )
    return [(logits, features) for logits, features, _ in parts]
