"""The atoms of a matching problem and their target, as a user hands them over."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import (
    AnyArray,
    ArrayLike,
    as_array,
    as_floats,
    as_rows,
    check_size,
    working_dtype,
)


class LastLayerGradients(NamedTuple):
    """Per-example last-layer gradients residuals_i ⊗ [1, features_i], one atom a row."""

    residuals: ArrayLike  # (n, C), dl/dz; batches of them too
    features: ArrayLike  # (n, E), what enters the last layer


# The atoms of a matching problem: factored gradients, or any dense (n, d) array.
Atoms = LastLayerGradients | Float[AnyArray, "*batch n d"]


def as_atoms(
    gradients: ArrayLike, *, batched: bool = False, sums: bool = True, stored: bool = False
) -> Atoms:
    """The checked atoms of what a user hands over, in float32 or wider.

    Factored: `LastLayerGradients` of any arrays, a pair (residuals, features), or a mapping with
    those names. All else is a dense array with one atom a row.

    batched: leading axes are allowed. sums: products of the atoms will be added up. stored: those
    in half precision stay so, for one who widens them where it computes.

    Raises:
        UserError: shapes that do not fit; nan, inf, or sums that would overflow (if not traced).
    """
    factored = _factors(gradients)
    if factored is None:
        (dense,) = as_rows("gradients", gradients, batched=batched, stored=stored)
        if sums:
            check_size("gradients", dtype_of(dense), dense.shape[-2], dense)
        return dense
    rows = as_rows("gradients", *factored, batched=batched, bias=True, stored=stored)
    atoms = LastLayerGradients(*rows)
    if sums:
        check_size("gradients", dtype_of(atoms), rows[0].shape[-2], *rows)
    return atoms


def _factors(gradients: ArrayLike) -> tuple[ArrayLike, ArrayLike] | None:
    """(residuals, features) of what is factored, None of what is dense."""
    if isinstance(gradients, LastLayerGradients):
        return gradients
    if isinstance(gradients, Mapping):
        if set(gradients) != set(LastLayerGradients._fields):
            raise UserError(
                "gradients are a dict; pass LastLayerGradients(residuals, features), or one array "
                "(n, d)"
            )
        return gradients["residuals"], gradients["features"]
    pair = isinstance(gradients, tuple) and len(gradients) == 2
    return gradients if pair and all(jnp.ndim(x) == 2 for x in gradients) else None


def as_factored(atoms: Atoms) -> LastLayerGradients:
    """Dense atoms as factored ones of no feature but the bias: a_i ⊗ [1]."""
    if isinstance(atoms, LastLayerGradients):
        return atoms
    return LastLayerGradients(atoms, atoms[..., :0])


def as_target(
    atoms: Atoms, target: ArrayLike, classes: int | None = None, width: int | None = None
) -> Array:
    """A checked target of the atoms' dtype, (C, 1+E) or (d,), or one for each of `classes`.

    A single factored target may come flat. width: of the residuals, where not the atoms' own.
    """
    if isinstance(atoms, LastLayerGradients):
        shape = width or atoms.residuals.shape[-1], atoms.features.shape[-1] + 1
    else:
        shape = (atoms.shape[-1],)
    expected = shape if classes is None else (classes, *shape)
    if isinstance(target, LastLayerGradients):  # a plain pair may be two classes' targets
        raise UserError(
            "target is a gradient for each example; pass their sum, "
            f"weighted_sum(gradients, weights), of shape {expected}"
        )
    array = as_array("target", target)
    if classes is None and array.shape == (math.prod(shape),):
        array = array.reshape(shape)
    if array.shape != expected:
        raise UserError(f"target has shape {array.shape}, expected {expected}")
    return as_floats("target", array).astype(dtype_of(atoms))


def dtype_of(atoms: Atoms) -> Any:
    """The dtype that sums of the atoms have."""
    first = atoms.residuals if isinstance(atoms, LastLayerGradients) else atoms
    return working_dtype(first.dtype)


def classes_of(atoms: Atoms) -> int | None:
    """How many classes the atoms know of: as many as there are logits, where there are several."""
    if not isinstance(atoms, LastLayerGradients) or atoms.residuals.shape[-1] == 1:
        return None
    return atoms.residuals.shape[-1]
