"""One value: numbers, counts, budgets, names, paths. No JAX here: configurations are read by it.

Pure host functions, each named after what comes out. A traced value passes through where it can.
"""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.settings import annotation

# The losses that have a name; `gradmatch_jax.losses` has what they are.
LossName = Literal["softmax", "mse", "sigmoid"]
# Entries past n are padding; this many (128 MiB with their weights) are still no slip of the pen.
MOST_PADDING = 2**24
# What a number in a problem may be: all else is inf there.
FLOAT32_MAX = float(np.finfo(np.float32).max)


def is_traced(value: Any) -> bool:
    """Whether `value` is known to jit only; False where JAX was never imported."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def as_plain(value: Any) -> Any:
    """NumPy, JAX and torch scalars as Python's own, in lists, tuples and dicts too.

    >>> as_plain({"lr": np.float32(0.5), "epochs": np.int64(3)})
    {'lr': 0.5, 'epochs': 3}
    """
    if isinstance(value, Mapping):
        return {key: as_plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(as_plain(v) for v in value)
    item = getattr(value, "item", None)
    if item is None or np.ndim(value) > 0:
        return value
    try:
        return item()
    except NotImplementedError:  # a JAX key
        return value


def as_path(name: str, value: Any) -> Path:
    """A str or PathLike as a Path, its `~` expanded."""
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        if not os.fspath(value):
            raise UserError(f'{name} is empty; name a path, "." for the working directory')
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # ~nobody
            raise UserError(f"{name} {os.fspath(value)!r}: no such home; write it out") from error
    raise UserError(f"{name} must be a path or a string, not {short(value)}")


def check_literal(name: str, value: Any, options: Sequence[str]) -> str:
    """`value`, which must be one of `options`."""
    if isinstance(value, str) and value in options:
        return value
    raise no_such(name, value if isinstance(value, str) else short(value), options)


def as_flag(name: str, value: Any) -> bool:
    """True or False, of Python or NumPy."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise UserError(f"{name} must be True or False, not {short(value)}")


def as_number(
    name: str,
    value: Any,
    *,
    least: float = 0.0,
    most: float = math.inf,
    above: bool = False,
    static: bool = False,
) -> Any:
    """A finite float from `least` (not itself, if `above`) to `most`; a traced one as it is.

    static: the number is part of the compiled program, so a traced one is refused.
    """
    if is_traced(value):
        if static:
            raise UserError(f"{name} is traced; make it static, or close over its value")
        if value.shape != () or value.dtype.kind not in "fiuV":
            raise UserError(f"{name} must be one number, not {value.dtype} {value.shape}")
        return value
    number = as_plain(value)
    wanted = f"above {least:g}" if above else f"{least:g} or more"
    wanted += f" and at most {most:g}" if most < math.inf else ""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UserError(f"{name} must be {wanted}, a number, not {short(value)}")
    if not (least < number if above else least <= number) or not number <= most:
        raise UserError(f"{name} must be {wanted}, not {short(number)}")
    if not abs(number) <= FLOAT32_MAX:
        raise UserError(f"{name} must be {wanted} and finite in float32, not {short(number)}")
    return float(number)


def check_fields(options: Any) -> dict[str, Any]:
    """A dataclass of knobs, each checked by its type: a choice, a switch, a number in its range.

    `lam` may be traced; the others are part of the compiled program.
    """
    values = {}
    for name, annotated in get_type_hints(type(options), include_extras=True).items():
        value, (hint, ranges) = getattr(options, name), annotation(annotated)
        if get_args(hint):
            values[name] = check_literal(name, value, get_args(hint))
        elif hint is bool:
            values[name] = as_flag(name, value)
        elif hint is float:
            values[name] = as_number(name, value, static=name != "lam")
            for allowed in ranges:
                if not is_traced(value) and not allowed.holds(values[name]):
                    raise UserError(f"{name} must be {allowed}, not {short(value)}")
    return values


def as_count(name: str, value: Any, *, least: int = 0, hint: str = "") -> int:
    """A whole number from `least`, of Python, NumPy, JAX or torch."""
    if is_traced(value):
        raise UserError(f"{name} is traced; it decides shapes: make it a static argument of jit")
    number = as_plain(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise UserError(f"{name} must be a whole number, not {short(value)}{hint}")
    if number < least:
        raise UserError(f"{name} must be {least} or more, not {number}")
    if number >= 2**31:
        raise UserError(f"{name} must be below 2^31, not {short(number)}")
    return number


def as_budget(budget: Any, fraction: Any, n: int) -> int:
    """How many examples to choose of n: `budget`, or round(fraction n), at least 1.

    Raises:
        UserError: both or neither are given; a budget that is no whole number from 0, or far above
          n; a fraction outside (0, 1].
    """
    if (budget is None) == (fraction is None):
        both = "both" if fraction is not None else "neither"
        raise UserError(f"pass budget= (examples) or fraction= (a share of them), not {both}")
    if fraction is not None:
        share = as_number("fraction", fraction, most=1.0, above=True, static=True)
        return min(n, max(1, round(share * n)))
    number = None if is_traced(budget) else as_plain(budget)
    share = isinstance(number, float) and 0 < number < 1
    hint = f"; a share of the examples is fraction={number:g}" if share else ""
    count = as_count("budget", budget, hint=hint)
    if count > max(n, MOST_PADDING):
        raise UserError(f"budget is {count} and there are {n} examples; choose at most {n}")
    return count


def short(value: Any) -> str:
    """What was handed over, in a few words on one line."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    if isinstance(value, str | bytes | int | float | complex | bool | type(None)):
        text = repr(value)
    else:
        kind = type(value)
        text = kind.__name__ if kind.__module__ == "builtins" else f"a {kind.__name__}"
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            text = f"{value.dtype} {tuple(value.shape)}"
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"
