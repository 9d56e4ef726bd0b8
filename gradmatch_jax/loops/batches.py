"""An epoch's mini-batches of arrays, with their weights, for loops without a loader."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_count
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
    for leaf in jax.tree.leaves(arrays):
        if np.ndim(leaf) == 0 or len(leaf) != n:
            raise UserError(f"arrays have shape {np.shape(leaf)} and there are {n} labels")
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
