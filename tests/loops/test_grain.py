"""Weighted rows for grain: its own loader over them, and the door."""

import numpy as np
import pytest

from gradmatch_jax.errors import UserError
from gradmatch_jax.grain import WeightedSource

RECORDS = [(np.float32(i), i % 3) for i in range(10)]


def test_grain_reads_it():
    grain = pytest.importorskip("grain")
    source = WeightedSource(RECORDS, [7, 2, 9, 4], [0.5, 1.0, 2.0, 0.5])
    batches = list(grain.MapDataset.source(source).shuffle(seed=1).batch(2))
    rows = np.concatenate([x for x, _, _ in batches]).astype(int)
    weights = np.concatenate([w for _, _, w in batches])
    assert sorted(rows.tolist()) == [2, 4, 7, 9]
    expected = {7: 0.5, 2: 1.0, 9: 2.0, 4: 0.5}
    assert [expected[row] for row in rows.tolist()] == weights.tolist()
    assert weights.dtype == np.float32


def test_records_of_each_kind():
    mapping = WeightedSource([{"x": 1}, {"x": 2}], [1], [3.0])
    assert mapping[0] == {"x": 2, "weight": 3.0}
    assert WeightedSource(["a", "b"], [1], [3.0])[0] == ("b", 3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((iter(RECORDS), [0], [1.0]), "source must have a length"),
        ((RECORDS, [10], [1.0]), "rows lie outside"),
        ((RECORDS, [1, 2], [1.0]), "2 rows"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        WeightedSource(*arguments)
