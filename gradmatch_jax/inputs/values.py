"""One value: numbers, counts, budgets, names, paths. No JAX here: configurations are read by it.

Pure host functions, each named after what comes out. A traced value passes through where it can.
"""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gradmatch_jax.errors import UserError, no_such

# The losses that have a name; `gradmatch_jax.losses` has what they are.
LossName = Literal["softmax", "mse", "sigmoid"]
# Entries past n are padding; this many (128 MiB with their weights) are still no slip of the pen.
MOST_PADDING = 2**24
# What a number in a problem may be: all else is inf there.
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Range(NamedTuple):
    """The numbers that a value may be; the ends belong to it unless they are `open`.

    `lam: Annotated[float, Range(0)] = 0.5` is 0 or more, and finite.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the range; nan and what float32 has as inf never do."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and abs(value) <= FLOAT32_MAX

    def __str__(self) -> str:
        """In words: "above 0 and at most 1"."""
        if math.isfinite(self.low + self.high) and not self.open_low | self.open_high:
            return f"from {self.low:.10g} to {self.high:.10g}{self.unit}"
        low = f"above {self.low:.10g}" if self.open_low else f"{self.low:.10g} or more"
        high = f"{'below' if self.open_high else 'at most'} {self.high:.10g}"
        words = [low] * (self.low > -math.inf) + [high] * (self.high < math.inf)
        return " and ".join(words or ["finite"]) + self.unit


ANY = Range()
NOT_NEGATIVE = Range(0)
SHARE = Range(0, 1, open_low=True, unit=" (0.1 is 10 %)")
BELOW_ONE = Range(0, 1, open_high=True)
INSIDE = Range(0, 1, open_low=True, open_high=True)
COUNT = Range(1, 2**31 - 1)
SIDE = Range(1, 4096, unit=" pixels")  # of a picture: one batch of 20 of the largest is a GB
SEED = Range(0, 2**32 - 1)  # what a JAX key and a NumPy generator both take


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
    if item is None or isinstance(value, type) or np.ndim(value) > 0:
        return value
    try:
        return item()
    except NotImplementedError:  # a JAX key has no plain value, and goes on as it is
        return value


def as_path(name: str, value: Any) -> Path:
    """A str or PathLike as a Path, its `~` expanded."""
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        if not os.fspath(value):
            raise UserError(f'{name} is empty; name a path, "." for the working directory')
        if "\0" in os.fspath(value):
            raise UserError(
                f"{name} {short(os.fspath(value))} holds a null; no file has such a name"
            )
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


def as_name(name: str, value: Any) -> str:
    """A string, NumPy's too."""
    if isinstance(value, str):
        return str(value)
    raise UserError(f"{name} must be a name, not {short(value)}")


def as_flag(name: str, value: Any) -> bool:
    """True or False, of Python or NumPy."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise UserError(f"{name} must be True or False, not {short(value)}")


def as_number(name: str, value: Any, allowed: Range = NOT_NEGATIVE, *, static: bool = False) -> Any:
    """A float of `allowed`, finite in float32; a traced one as it is.

    static: the number is part of the compiled program, so a traced one is refused.
    """
    if is_traced(value):
        if static:
            raise UserError(f"{name} is traced; make it static, or close over its value")
        if value.shape != () or value.dtype.kind not in "fiuV":
            raise UserError(f"{name} must be one number, not {value.dtype} {value.shape}")
        return value
    number = as_plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UserError(f"{name} must be {allowed}, a number, not {short(value)}")
    return float(_within(name, number, allowed))


def as_whole(name: str, value: Any, allowed: Range = ANY, *, hint: str = "") -> int:
    """A whole number of `allowed`, of Python, NumPy, JAX or torch."""
    if is_traced(value):
        raise UserError(f"{name} is traced; it decides shapes: make it a static argument of jit")
    number = as_plain(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise UserError(f"{name} must be a whole number, not {short(value)}{hint}")
    return _within(name, number, allowed)


def _within(name: str, number: Any, allowed: Range) -> Any:
    if allowed.holds(number):
        return number
    finite = "" if abs(number) <= FLOAT32_MAX else " and finite in float32"
    raise UserError(f"{name} must be {allowed}{finite}, not {short(number)}")


def as_count(name: str, value: Any, *, least: int = 0, hint: str = "") -> int:
    """A whole number from `least` that 32 bits hold."""
    number = as_whole(name, value, Range(least), hint=hint)
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
        share = as_number("fraction", fraction, SHARE, static=True)
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
    elif isinstance(value, type):
        text = f"the type {value.__name__}"
    else:
        kind = type(value)
        text = kind.__name__ if kind.__module__ == "builtins" else f"a {kind.__name__}"
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            text = f"{value.dtype} {tuple(value.shape)}"
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"
