"""What an epoch trains on, as a table: (epoch, selection) -> (indices, weights)."""

import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.training.examples import examples_of
from gradmatch_jax.training.schedule import UNWEIGHTED, Batching, Epoch

N = 6


def selection(indices, weights):
    """A selection with two entries of padding."""
    padded = jnp.asarray([*indices, -1, -1], jnp.int32)
    return unweighted(padded)._replace(weights=jnp.asarray([*weights, 0, 0], jnp.float32))


SUBSET = Epoch(False, True, 0.0, batching=Batching("selection"))
TABLE = [
    ("full: everything, weight 1", Epoch(True, False, 0.0), [3], [7.0], range(N), [1.0] * N),
    ("mean 1 a selection", SUBSET, [4, 0, 2], [1, 2, 3], [4, 0, 2], [0.5, 1, 1.5]),
    ("and before mean 1 a mini-batch", SUBSET._replace(batching=Batching("batch")),
     [4, 0], [1, 3], [4, 0], [0.5, 1.5]),
    ("the scale is kept", SUBSET._replace(batching=UNWEIGHTED), [5, 1], [2, 1], [5, 1], [2, 1]),
    ("nothing to scale by", SUBSET, [5, 1], [0, 0], [5, 1], [0, 0]),
    ("negative weights of a signed match", SUBSET, [5, 1], [3, -1], [5, 1], [3, -1]),
    ("that sum to less than nothing", SUBSET, [5, 1], [-3, 1], [5, 1], [-3, 1]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "epoch", "indices", "weights", "rows", "expected"), TABLE, ids=[r[0] for r in TABLE]
)
def test_examples(case, epoch, indices, weights, rows, expected):
    found = examples_of(epoch, selection(indices, weights), N)
    assert found.indices.tolist() == list(rows)
    np.testing.assert_allclose(found.weights, expected)
    assert found.indices.dtype == np.int32
    assert found.weights.dtype == np.float32


def test_an_empty_selection_is_told():
    with pytest.raises(UserError, match="the selection is empty"):
        examples_of(SUBSET, selection([], []), N)
