"""Settings that check themselves: a frozen dataclass, its annotations, and the ranges in them.

No JAX here: the command line reads settings to print its help.
"""

import dataclasses
import math
import operator
import os
import types
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from gradmatch_jax.errors import UserError, no_such

S = TypeVar("S")


class Range(NamedTuple):
    """The numbers a setting may have; the ends belong to it unless they are `open`.

    `lam: Annotated[float, Range(0)] = 0.5` is 0 or more, and finite.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the range; nan and infinities never do."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        """In words: "above 0 and at most 1"."""
        low = f"{'above' if self.open_low else 'at least'} {self.low:.10g}"
        high = f"{'below' if self.open_high else 'at most'} {self.high:.10g}"
        words = [low] * (self.low > -math.inf) + [high] * (self.high < math.inf)
        return " and ".join(words or ["a finite number"]) + self.unit


SHARE = Range(0, 1, open_low=True, unit=" (0.1 is 10 %)")
COUNT = Range(1)


def checked(settings: S) -> S:
    """`settings` with every field as its annotation says, or an error that names the field.

    NumPy's numbers become Python's, strings become paths where a path is wanted ("~" is the home
    folder), lists become tuples.

    Args:
        settings: a frozen dataclass.

    Returns:
        The same settings; equal ones give equal ones.

    Raises:
        UserError: a value of another type, outside its `Range`, or none of a `Literal`.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Mine:
        ...     share: Annotated[float, SHARE] = 0.5
        >>> checked(Mine(share=2.0))
        Traceback (most recent call last):
        ...
        gradmatch_jax.errors.UserError: --share must be above 0 and at most 1 (0.1 is 10 %), not 2.0
    """
    hints = _hints(type(settings))
    values = {
        name: _fit(_flag(name), hint, getattr(settings, name)) for name, hint in hints.items()
    }
    return dataclasses.replace(settings, **values)  # type: ignore[type-var]


def _hints(kind: type) -> dict[str, Any]:
    import typing

    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def annotation(hint: Any) -> tuple[Any, tuple[Range, ...]]:
    """A field's type and its ranges, from its annotation.

    >>> annotation(Annotated[float, Range(0)])
    (<class 'float'>, (Range(low=0, high=inf, open_low=False, open_high=False, unit=''),))
    """
    if get_origin(hint) is not Annotated:
        return hint, ()
    kind, *extra = get_args(hint)
    return kind, tuple(r for r in extra if isinstance(r, Range))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _fit(flag: str, hint: Any, value: Any) -> Any:
    """`value` as `hint` wants it."""
    if get_origin(hint) is Annotated:
        kind, ranges = annotation(hint)
        fitted = _fit(flag, kind, value)
        for allowed in ranges:
            numbers = fitted if isinstance(fitted, tuple) else (fitted,)
            for number in numbers:
                if number is not None and not allowed.holds(number):
                    raise UserError(f"{flag} must be {allowed}, not {number}")
        return fitted
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        if value is None and len(options) < len(get_args(hint)):
            return None
        return _fit(flag, options[0], value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise no_such(f"{flag} value", value, map(str, get_args(hint)))
        return str(value)
    if get_origin(hint) is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise UserError(f"{flag} must be a list, not {value!r}")
        return tuple(_fit(flag, get_args(hint)[0], item) for item in value)
    return _plain(flag, hint, value)


def _plain(flag: str, kind: Any, value: Any) -> Any:
    """A bool, int, float, str or path of Python's own."""
    scalar = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if kind is bool and isinstance(scalar, bool):
        return scalar
    if kind is int and not isinstance(scalar, bool) and hasattr(scalar, "__index__"):
        return operator.index(scalar)
    if kind is float and isinstance(scalar, (int, float)) and not isinstance(scalar, bool):
        return float(scalar)
    if kind is str and isinstance(scalar, str):
        return str(scalar)
    if kind is Path and isinstance(scalar, (str, os.PathLike)):
        try:
            return Path(scalar).expanduser()
        except RuntimeError as error:  # ~nobody
            raise UserError(f"{flag} {scalar}: no such home; write the path out") from error
    wanted = {bool: "True or False", int: "a whole number", float: "a number", str: "a name"}
    raise UserError(f"{flag} must be {wanted.get(kind, 'a path')}, not {value!r}")
