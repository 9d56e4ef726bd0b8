"""The door: what a user hands over becomes checked arrays, or one line that says what to do."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gradmatch_jax.errors import UserError


def check_gradients(gradients, budget: int) -> int:
    """Host checks of every selection's input, arrays of n rows; returns n.

    Raises:
        UserError: budget < 0; shapes that do not fit; nan or inf (when not traced).
    """
    leaves = jax.tree.leaves(gradients)
    shapes = [np.shape(x) for x in leaves]
    if any(len(s) != 2 for s in shapes) or len({s[0] for s in shapes}) != 1:
        raise UserError(f"gradients must be arrays of n rows, not of shapes {shapes}")
    if budget < 0:
        raise UserError(f"budget must be 0 or more, not {budget}")
    if not any(isinstance(x, Tracer) for x in leaves):
        bad = np.zeros(shapes[0][0], bool)
        for x in leaves:
            bad |= ~np.asarray(jnp.all(jnp.isfinite(x), axis=1))
        if bad.any():
            raise UserError(
                f"{int(bad.sum())} of {len(bad)} gradient rows hold nan or inf "
                f"(first: row {int(bad.argmax())}); did the training diverge? "
                "Lower the learning rate or drop those rows"
            )
    return shapes[0][0]
