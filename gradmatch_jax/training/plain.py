"""A state as plain arrays: typed keys as their numbers, and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_key(x: Any) -> bool:
    """Whether it is an array of typed keys, or the shape of one."""
    return jnp.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key)


def without_keys(tree: Any) -> Any:
    """`tree` with the numbers of its keys."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def with_keys(tree: Any, like: Any) -> Any:
    """`tree` with keys, made of their numbers, where `like` has them."""

    def key(x: Any, known: Any) -> Any:
        if not is_key(known) or is_key(x):
            return x
        made = jax.random.key_impl(known) if isinstance(known, jax.Array) else None
        return jax.random.wrap_key_data(jnp.asarray(x), impl=made)

    return jax.tree.map(key, tree, like)


def on_host(tree: Any) -> Any:
    """JAX's arrays as NumPy's, keys as their numbers; each must be whole in this process."""
    plain = without_keys(tree)
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, plain)
