"""An epoch's mini-batches of arrays, with their weights, for loops without a loader."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_count, as_flag, short
from gradmatch_jax.loops.selector import Selector
from gradmatch_jax.training.order import relative


def weighted_batches(
    selector: Selector,
    epoch: int,
    arrays: Any,
    batch_size: int,
    *,
    forward: Any = None,
    validation: Any = None,
    whole: bool = False,
) -> Iterator[Any]:
    """The mini-batches of an epoch on the subset, in a fresh order by the selector's seed, or in
    the order that the strategy gives them.

    Args:
        selector: says which rows, and with what weights.
        epoch: 0, 1, ..
        arrays: of all training examples: a tuple of arrays (n, ...), or of trees of them.
        batch_size: rows a batch; the last may have fewer.
        forward: see `Selector`; None where it was made with one.
        validation: likewise, where the strategy reads it.
        whole: leave a ragged last batch out, which a jitted step compiles for.

    Returns:
        An iterator of the arrays' rows as a tuple, the weights (b,) behind. CRAIG's weights have
        mean 1 in each batch.

    Raises:
        UserError: arrays of other lengths; as a call of the selector.

    Example:
        >>> x, y = np.arange(8.0), np.arange(8) % 2
        >>> selector = Selector("random", fraction=0.5, labels=y)
        >>> [len(w) for _, _, w in weighted_batches(selector, 0, (x, y), 3)]
        [3, 1]
    """
    rows, weights = selector(epoch, forward, validation=validation)
    size = as_count("batch_size", batch_size, least=1)
    n = selector.count
    whole = as_flag("whole", whole)
    leaves = jax.tree.leaves(arrays)
    if not leaves or not isinstance(arrays, tuple | list):
        raise UserError(f"arrays must be a tuple of arrays, (x, y) or (x,), not {short(arrays)}")
    for leaf in leaves:
        # What is indexed otherwise than by rows, as data frames and sparse matrices are, is none.
        if not hasattr(leaf, "dtype") or hasattr(leaf, "iloc") or hasattr(leaf, "tocsr"):
            raise UserError(f"arrays hold {short(leaf)}; pass numpy.asarray of it, or its values")
        if len(leaf.shape) == 0 or leaf.shape[0] != n:
            raise UserError(f"arrays have shape {tuple(leaf.shape)} and there are {n} labels")
    if not selector.ordered(epoch):
        order = np.random.default_rng([selector.seed, epoch]).permutation(len(rows))
        rows, weights = rows[order], weights[order]
    if selector.weighting == "batch":
        weights = relative(weights, size)
    end = len(rows) // size * size if whole and len(rows) >= size else len(rows)

    def batches() -> Iterator[Any]:
        for start in range(0, end, size):
            part = rows[start : min(start + size, end)]
            taken = jax.tree.map(lambda x, part=part: x[part], tuple(arrays))
            yield (*taken, weights[start : start + len(part)])

    return batches()
