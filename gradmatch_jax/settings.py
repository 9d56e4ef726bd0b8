"""Settings that check themselves: a frozen dataclass, and its annotations with their ranges.

No JAX here: the command line reads settings to print its help.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.inputs.values import (
    ANY,
    Range,
    as_flag,
    as_name,
    as_number,
    as_path,
    as_whole,
    check_literal,
    short,
)

S = TypeVar("S")


def as_option(name: str) -> str:
    """A field as the command line calls it.

    >>> as_option("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


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
        >>> from gradmatch_jax.inputs.values import SHARE
        >>> @dataclasses.dataclass(frozen=True)
        ... class Mine:
        ...     share: Annotated[float, SHARE] = 0.5
        >>> checked(Mine(share=2.0))
        Traceback (most recent call last):
        ...
        gradmatch_jax.errors.UserError: --share must be above 0 and at most 1 (0.1 is 10 %), not 2.0
    """
    return dataclasses.replace(settings, **fitted(settings))  # type: ignore[type-var]


def from_values(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings of values that come from elsewhere, a JSON file say: each as `checked` has it.

    Args:
        kind: a frozen dataclass.
        values: by the names of its fields; the others stand at their default.

    Raises:
        UserError: no such field, or a value as `checked` refuses it.

    Example:
        >>> from gradmatch_jax.inputs.values import SHARE
        >>> @dataclasses.dataclass(frozen=True)
        ... class Mine:
        ...     share: Annotated[float, SHARE] = 0.5
        ...     file: Path = Path("a")
        >>> from_values(Mine, {"file": "b"})
        Mine(share=0.5, file=PosixPath('b'))
    """
    hints, known = _hints(kind), [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known):
        raise no_such("setting", unknown[0], known)
    return kind(**{k: _fit(as_option(k), hints[k], value) for k, value in values.items()})


def fitted(
    settings: Any, say: Callable[[str], str] = as_option, traced: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The fields of `checked(settings)` by name; those at their default are as they should be.

    Args:
        settings: a dataclass.
        say: how an error calls a field.
        traced: fields of numbers that jit may trace; the others are part of the compiled program.
    """
    hints: dict[str, Any] = _hints(type(settings))
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value, static = getattr(settings, field.name), field.name not in traced
        if value is not field.default:  # a sweep has thousands of settings, most as they stand
            value = _fit(say(field.name), hints[field.name], value, static=static)
        found[field.name] = value
    return found


@functools.cache  # a sweep checks thousands of settings of one class
def _hints(settings: type) -> dict[str, Any]:
    """Each field's annotation, its range with it."""
    return get_type_hints(settings, include_extras=True)


def _fit(name: str, hint: Any, value: Any, allowed: Range = ANY, *, static: bool = True) -> Any:
    """`value` as `hint` wants it."""
    kind, options = get_origin(hint), get_args(hint)
    if kind is Annotated:
        ranges = [extra for extra in options[1:] if isinstance(extra, Range)]
        return _fit(name, options[0], value, *ranges, static=static)
    if kind in (Union, types.UnionType):  # of one type and None
        inner = next(option for option in options if option is not types.NoneType)
        return None if value is None else _fit(name, inner, value, allowed)
    if kind is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise UserError(f"{name} must be a list, not {short(value)}")
        return tuple(_fit(name, options[0], item, allowed) for item in value)
    if kind is Literal:
        return check_literal(name, value, options)
    if hint is float:
        return as_number(name, value, allowed, static=static)
    if hint is int:
        return as_whole(name, value, allowed)
    return {bool: as_flag, str: as_name, Path: as_path}[hint](name, value)
