"""What a model of the user's own gives back, checked by shape before it trains."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.errors import UserError


def check_model_output(name: str, output: Any, num_classes: int, rows: int | None = None) -> None:
    """Check what `Model.apply` gives, as arrays or as `jax.eval_shape` has them.

    Args:
        name: the model's, for the message.
        output: (logits, features, stats).
        num_classes: of the data set.
        rows: how many inputs it was given; None where that is not known.

    Raises:
        UserError: no such triple; logits that are not float (rows, num_classes); features that are
            not float (rows, E).

    Example:
        >>> check_model_output("mine", (jnp.zeros((2, 10)), jnp.zeros((2, 32)), {}), 10, 2)
    """
    if not isinstance(output, tuple | list) or len(output) != 3:
        count = len(output) if isinstance(output, tuple | list) else "one value"
        raise UserError(
            f"model {name}: apply must return (logits, features, stats), not {count}; features "
            "are what enters the last linear layer (an NNX module returns the first two)"
        )
    logits, features, _ = output
    for part, x in (("logits", logits), ("features", features)):
        if not isinstance(x, jax.Array | np.ndarray | jax.ShapeDtypeStruct) or x.ndim != 2:
            found = f"of shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
            raise UserError(f"model {name}: {part} must be an array (rows, width), not {found}")
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise UserError(f"model {name}: {part} must be floating point, not {x.dtype}")
        if x.shape[0] != (logits.shape[0] if rows is None else rows):
            raise UserError(
                f"model {name}: {part} have {x.shape[0]} rows for {rows or logits.shape[0]} inputs"
            )
    if logits.shape[1] != num_classes:
        raise UserError(
            f"model {name}: logits are {logits.shape[1]} wide and the data have {num_classes} "
            "classes; make the last layer that wide"
        )
    if features.shape[1] == 0:
        raise UserError(
            f"model {name}: features have no columns; return what enters the last layer"
        )
