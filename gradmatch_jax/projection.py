"""Projected gradients: atoms of any loss in any parameters, no last layer and no classes needed.

An example's gradient g_i in all parameters is too long to keep. A count sketch S (Charikar, Chen &
Farach-Colton 2002) sends each coordinate to one of m places with a random sign, which costs one
addition a coordinate and no matrix. It keeps inner products in expectation, E <S x, S y> = <x, y>,
and their standard deviation is at most

    sqrt((‖x‖² ‖y‖² + <x, y>²) / m)   <=   sqrt(2 / m) ‖x‖ ‖y‖

(Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", lemma 2): 4.4 % of
the norms' product at m = 1024. All selections here live on inner products of gradients.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Key, as_array, as_key, checked, on_device
from gradmatch_jax.inputs.values import Range, as_count, as_whole, short

# Of the gradients that are held at once.
MEMORY = 2**28


def projected_gradients(
    loss: Callable[..., ArrayLike],
    params: Any,
    batches: Iterable[Any],
    dim: Count = 1024,
    *,
    key: Key | None = None,
    memory: Count = MEMORY,
) -> Float[Array, "n dim"]:
    """Each example's gradient, sketched to `dim` numbers: atoms for any selection.

    Args:
        loss: of (params, *example) -> a number, for one example, without the batch's axis. The
            same function again compiles nothing; `jax.tree_util.Partial(f, arrays)` is the same
            where the arrays it gives f first have changed.
        params: what is differentiated, a tree of arrays. Of some parameters only, give those, and
            let the loss close over the others.
        batches: of examples: tuples of arrays (b, ...), single arrays, or trees of them such as
            dicts; of any sizes. Each size of a batch compiles.
        dim: m, numbers an example.
        key: of the projection; the same key gives the same (None: a fixed key). Gradients that are
            to be compared need one key.
        memory: bytes of full gradients to hold at once; a batch is done in parts that fit.

    Returns:
        (n, dim), float32 or wider, in the order of the examples; for `select_subset(atoms, k)`.

    Raises:
        UserError: no examples, a loss that gives no number, gradients that are nan or infinite.

    Example:
        >>> def squared(w, x, y):
        ...     return (jnp.dot(w, x) - y) ** 2
        >>> x, y = np.ones((6, 3), np.float32), np.arange(6, dtype=np.float32)
        >>> projected_gradients(squared, jnp.zeros(3), [(x, y)], 64).shape
        (6, 64)
    """
    if not callable(loss):
        raise UserError(f"loss must be a function of (params, *example), not {short(loss)}")
    places = as_count("dim", dim, least=1)
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise UserError("params hold no arrays; pass what is to be differentiated")
    size = sum(4 * int(np.size(leaf)) for leaf in leaves)
    at_once = max(1, as_whole("memory", memory, Range(1)) // size)
    run, key = _compiled(loss, places), as_key(key)
    parts = []
    for batch in batches:
        example = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
        arrays = jax.tree.map(lambda x: on_device(as_array("batches", x)), example)
        count = _rows(jax.tree.leaves(arrays))
        for start in range(0, count, at_once):
            rows = slice(start, start + at_once)
            parts.append(run(params, jax.tree.map(operator.itemgetter(rows), arrays), key))
    if not parts:
        raise UserError("batches hold no examples")
    return checked("a gradient", jnp.concatenate(parts))


def _compiled(loss: Callable[..., ArrayLike], places: int) -> Callable[..., Array]:
    """(params, examples, key) -> their sketched gradients, compiled once a loss and a size."""
    held = isinstance(loss, Partial)
    function, given = (loss.func, (loss.args, loss.keywords)) if held else (loss, ((), {}))
    try:
        run = _kept(function, places)
    except TypeError:  # a callable that has no hash
        run = _sketcher(function, places)
    return functools.partial(run, given)


def _sketcher(loss: Callable[..., ArrayLike], places: int) -> Callable[..., Array]:
    """(what the loss is given first, params, examples, key) -> sketched gradients."""

    def one(params: Any, given: Any, example: tuple[Any, ...]) -> Array:
        value = jnp.asarray(loss(*given[0], params, *example, **given[1]))
        if value.shape != ():
            raise UserError(f"loss must give one number an example, not {value.shape}")
        return value

    @jax.jit
    def run(given: Any, params: Any, examples: tuple[Any, ...], key: PRNGKeyArray) -> Array:
        each = jax.vmap(jax.grad(one), in_axes=(None, None, 0))(params, given, examples)
        total = None
        for i, leaf in enumerate(jax.tree.leaves(each)):
            part = sketch(leaf.reshape(len(leaf), -1), places, jax.random.fold_in(key, i))
            total = part if total is None else total + part
        assert total is not None
        return total

    return run


_kept = functools.lru_cache(maxsize=8)(_sketcher)


def sketch(rows: Float[Array, "n d"], places: int, key: PRNGKeyArray) -> Float[Array, "n m"]:
    """Count sketches of rows: column j is added to place h(j) with sign s(j), both drawn by `key`.

    >>> x = jnp.eye(2, 50)
    >>> [abs(float(v)) for v in jnp.sum(sketch(x, 8, jax.random.key(0)), axis=1)]
    [1.0, 1.0]
    """
    place_key, sign_key = jax.random.split(key)
    d = rows.shape[1]
    place = jax.random.randint(place_key, (d,), 0, places, jnp.int32)
    sign = jax.random.rademacher(sign_key, (d,), jnp.int8).astype(rows.dtype)
    signed = (rows * sign[None]).T
    return jax.ops.segment_sum(signed, place, places).T


def _rows(arrays: Sequence[Array]) -> int:
    counts = {x.shape[0] if x.ndim else 0 for x in arrays}
    if len(counts) != 1:
        raise UserError(f"a batch's arrays have {sorted(counts)} rows; they must have as many")
    return counts.pop()
