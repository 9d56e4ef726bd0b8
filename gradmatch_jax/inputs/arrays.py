"""Arrays and keys: of JAX, NumPy, lists, torch and scipy.sparse, checked once.

torch and scipy are never imported here: what they made is known by its module. Traced arrays are
checked in shape and dtype only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_plain, short

# Host arrays do wherever device arrays do.
AnyArray = Array | np.ndarray
# What public functions admit; the door says what of it is served.
ArrayLike = Any
# For readers and type checkers; at run time the door itself checks them, and says what to do.
if TYPE_CHECKING:
    Number = float | int | np.number | Shaped[np.ndarray, ""] | Shaped[Array, ""]
    Count = int | np.integer | Int[np.ndarray, ""] | Int[Array, ""]
    Key = PRNGKeyArray | Shaped[np.ndarray, "words"] | Shaped[Array, "words"] | Count
else:
    Number = Count = Key = Any


def as_array(name: str, value: ArrayLike) -> np.ndarray | Array:
    """`value` as an array of real numbers: JAX's stay where they are, all others come to NumPy.

    Raises:
        UserError: no array, ragged rows, strings, objects, complex numbers, masked entries.
    """
    if not isinstance(value, jax.Array):
        value = to_numpy(name, value)
    dtype = value.dtype
    if jnp.issubdtype(dtype, np.complexfloating):
        raise UserError(f"{name} must be real numbers, not {dtype}; pass {name}.real")
    if not (jnp.issubdtype(dtype, np.number) or dtype == np.bool_):
        raise UserError(f"{name} must be an array of numbers, not of {kind_of(dtype)}")
    return value


def kind_of(dtype: Any) -> str:
    """A dtype in words."""
    kinds = {"O": "objects", "U": "strings", "S": "strings", "M": "dates", "m": "times"}
    return kinds.get(np.dtype(dtype).kind, str(dtype)) if isinstance(dtype, np.dtype) else "keys"


def to_numpy(name: str, value: ArrayLike) -> np.ndarray | Array:
    """An array of any dtype, of what is not JAX's own."""
    module = type(value).__module__.partition(".")[0]
    if module == "torch" and hasattr(value, "detach"):
        return _of_torch(name, value)
    if module in ("scipy", "jax") and hasattr(value, "todense"):
        return value.todense() if module == "jax" else value.toarray()
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise UserError(f"{name} have masked entries; drop or fill those rows")
        return np.asarray(value.data)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if any(isinstance(v, Tracer) for v in jax.tree.leaves(list(value))):
            return jnp.asarray(value)
        value = [to_numpy(name, v) if hasattr(v, "__array__") else v for v in value]
    elif not hasattr(value, "__array__"):
        raise UserError(f"{name} must be an array, not {short(value)}")
    try:
        array = np.asarray(value)
        wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
        return array.astype(np.float64 if wide else array.dtype.newbyteorder("="), copy=False)
    except Exception as error:  # whatever a foreign __array__ raises
        raise UserError(f"{name} do not make an array: {_first_line(error)}") from error


def _of_torch(name: str, value: Any) -> np.ndarray:
    try:
        value = value.detach()
        value = value if str(value.layout) == "torch.strided" else value.to_dense()
        known = str(value.dtype).removeprefix("torch.") in ("float16", "float32", "float64")
        value = value if known or not value.dtype.is_floating_point else value.float()
        return value.cpu().resolve_conj().resolve_neg().numpy()
    except Exception as error:  # on no device, nested, quantised, of packed bits
        raise UserError(
            f"{name} are no dense torch tensor of numbers ({value.dtype}, on {value.device}): "
            f"{_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def as_floats(
    name: str,
    value: ArrayLike,
    shape: tuple[int | None, ...] | None = None,
    dtype: Any = None,
) -> Array:
    """`value` on the device, in float32 or wider (or `dtype`); of `shape`: None is any length."""
    array = as_array(name, value)
    wanted = shape is None or len(shape) == array.ndim
    if not wanted or any(
        s not in (None, a) for s, a in zip(shape or (), array.shape, strict=False)
    ):
        expected = str(shape).replace("None", "n")
        raise UserError(f"{name} must be of shape {expected}, not {array.shape}")
    dtype = working_dtype(array.dtype) if dtype is None else dtype
    if not isinstance(array, Tracer) and array.size:
        check_finite(name, array.reshape(len(array) if array.ndim else 1, -1), dtype=dtype)
    return converted(array, dtype)


def converted(array: AnyArray, dtype: Any) -> Array:
    """`array` in that dtype, on the device. What is on the host is converted there: on the device
    that compiles for every shape."""
    if isinstance(array, np.ndarray):
        return jnp.asarray(array.astype(dtype, copy=False))
    return array.astype(dtype)


def on_device(array: AnyArray) -> Array:
    """`array` as it is, but for integers that JAX would cut to 32 bits: those become floats."""
    if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.size:
        kept = np.iinfo(jax.dtypes.canonicalize_dtype(array.dtype))
        if array.min() < kept.min or array.max() > kept.max:
            return converted(array, working_dtype(array.dtype))
    return jnp.asarray(array)


def working_dtype(dtype: Any) -> Any:
    """float32 at least: half precision and integers lose what selections live on."""
    wide = jnp.issubdtype(dtype, np.floating) and np.dtype(dtype).itemsize > 4
    return jax.dtypes.canonicalize_dtype(np.float64 if wide else np.float32)


def as_rows(
    name: str,
    *values: ArrayLike,
    batched: bool = False,
    bias: bool = False,
    stored: bool = False,
) -> tuple[Array, ...]:
    """Arrays of n rows each, of one floating dtype.

    batched: leading axes, the same for all, are allowed. bias: the last array may have no columns.
    stored: half precision stays as it is, for one who widens the rows that it comes to.

    Raises:
        UserError: shapes that do not fit; nan or inf (when not traced).
    """
    arrays = [as_array(name, value) for value in values]
    shapes = [x.shape for x in arrays]
    no_rows = any(len(s) < 2 or (len(s) > 2 and not batched) for s in shapes)
    if no_rows or len({s[:-1] for s in shapes}) != 1:
        raise UserError(f"{name} must be arrays of n rows, not of shapes {shapes}")
    if any(s[-1] == 0 for s in (shapes[:-1] if bias else shapes)):
        raise UserError(f"{name} of shapes {shapes} have no columns; pass one at least")
    dtype = np.result_type(*(working_dtype(x.dtype) for x in arrays))
    if not any(isinstance(x, Tracer) for x in arrays):
        check_finite(name, *arrays, dtype=dtype)
    if stored and all(is_half(x.dtype) for x in arrays):
        return tuple(jnp.asarray(x) for x in arrays)
    return tuple(converted(x, dtype) for x in arrays)


def is_half(dtype: Any) -> bool:
    """Whether it is float16 or bfloat16: fit to keep numbers in, not to compute with."""
    return jnp.issubdtype(dtype, np.floating) and np.dtype(dtype).itemsize == 2


def is_split(x: Any) -> bool:
    """Whether it is an array of which several devices have parts."""
    known = isinstance(x, jax.Array) and not isinstance(x, Tracer)
    return known and not x.is_fully_replicated


def widened(tree: Any) -> Any:
    """Arrays that are kept in half precision, in float32; wider ones as they are."""
    return jax.tree.map(lambda x: x.astype(working_dtype(x.dtype)), tree)


def check_finite(name: str, *arrays: np.ndarray | Array, dtype: Any) -> None:
    """An error that counts the rows with nan or inf in any of the arrays, and names the first."""
    arrays = tuple(x for x in arrays if x.size)
    if all(_seen_from_host(x) and _largest(x) <= float(jnp.finfo(dtype).max) for x in arrays):
        return
    with looking():
        count, first = (int(x) for x in _bad_rows([jnp.asarray(x) for x in arrays], dtype))
    if count:
        raise UserError(
            f"{count} of {len(arrays[0])} {name.removesuffix('s')} rows hold nan or inf (first: "
            f"row {first}); did the training diverge? Lower the learning rate or drop those rows"
        )


def _seen_from_host(x: AnyArray) -> bool:
    """Whether NumPy can look at it where it lies, all of it, and quickly."""
    if isinstance(x, np.ndarray) or is_half(x.dtype):
        return not is_half(x.dtype)  # twenty times slower than XLA is
    return not is_split(x) and all(device.platform == "cpu" for device in x.devices())


@contextmanager
def looking() -> Iterator[None]:
    """A constant of a function under jit is known as well; nan is an answer, no error of JAX."""
    with jax.ensure_compile_time_eval(), jax.debug_nans(False):
        yield


def _largest(x: AnyArray) -> float:
    """max |x|; nan if any is. By NumPy where it can: JAX compiles for every shape."""
    if not _seen_from_host(x):
        with looking():
            return float(_largest_there(x))
    x = np.asarray(x)
    return float(np.maximum(float(x.max()), -float(x.min())))


@jax.jit
def _largest_there(x: Array) -> Array:
    return jnp.max(jnp.abs(x))


@partial(jax.jit, static_argnums=1)
def _bad_rows(arrays: list[Array], dtype: Any) -> tuple[Int[Array, ""], Int[Array, ""]]:
    if not arrays or len(arrays[0]) == 0:
        return jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    bad = jnp.zeros(arrays[0].shape[0], bool)
    for x in arrays:
        # Eight bits reach nowhere near the bound below.
        kept = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize > 1
        x = x if kept else x.astype(dtype)
        fine = jnp.isfinite(x)
        if not is_half(x.dtype):
            fine &= jnp.abs(x) <= float(jnp.finfo(dtype).max)
        bad |= ~jnp.all(fine, axis=tuple(range(1, x.ndim)))
    return jnp.sum(bad), jnp.argmax(bad)


def checked(what: str, result: Array) -> Array:
    """`result`, which must be finite where it is known: what overflowed is no answer."""
    if isinstance(result, Tracer):
        return result
    if result.size and not np.isfinite(_largest(result)):
        raise UserError(f"{what} overflows {result.dtype}; rescale the gradients or the weights")
    return result


def check_size(name: str, dtype: Any, count: int, *factors: Array) -> None:
    """An error where sums over `count` products of such gradients could overflow `dtype`.

    factors: arrays whose outer product, an entry of 1 added to all but the first, is a gradient.
    """
    if any(isinstance(x, Tracer) for x in factors) or not all(x.size for x in factors[:1]):
        return
    reach, width = 1.0, 1
    for i, x in enumerate(factors):
        largest = _largest(x) if x.size else 0.0
        reach *= largest if i == 0 else max(1.0, largest)
        width *= x.shape[-1] + (i > 0)
    if reach * reach * width * 4.0 * count * count > float(jnp.finfo(dtype).max):
        raise UserError(
            f"{name} reach {reach:.0e}: sums of their products overflow {jnp.dtype(dtype)}; "
            f"rescale them, say divide by {reach:.0e}"
        )


def as_key(key: Any) -> PRNGKeyArray:
    """A JAX key: one given, new or old style; `jax.random.key(key)` of an int; None is key 0."""
    if key is None:
        return jax.random.key(0)
    if _is_key(key) or (isinstance(key, jax.Array | np.ndarray) and key.ndim > 0):
        if isinstance(key, jax.Array) and _is_key(key) and key.shape == ():
            return key
        words = jax.eval_shape(jax.random.key_data, jax.random.key(0)).shape
        if not _is_key(key) and key.dtype == np.uint32 and key.shape == words:
            return jax.random.wrap_key_data(jnp.asarray(key))
        raise UserError(
            f"key must be one JAX key, not {key.dtype} {key.shape}; pass jax.random.key(0), or one "
            "of a batch"
        )
    if isinstance(key, Tracer) and key.shape == () and jnp.issubdtype(key.dtype, jnp.integer):
        return jax.random.key(key)
    seed = as_plain(key)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(
            f"key must be jax.random.key(0) or a seed from 0 to 2^32 - 1, not {short(key)}"
        )
    return jax.random.key(seed)


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
