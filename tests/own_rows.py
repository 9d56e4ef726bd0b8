"""What `test_reading` asserts in each of several processes: it reads its own rows, and no other.

python own_rows.py COORDINATOR PROCESSES NUMBER
"""

import json
import sys

import jax
import numpy as np

from gradmatch_jax.data import Split
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.placement import everywhere
from toys import Stream

N = 45


def main(coordinator, processes, number):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, int(processes), int(number))
    place, inputs = everywhere(), np.arange(N * 3, dtype=np.float32).reshape(N, 3)
    order, taken = np.random.default_rng(0).permutation(N), {}
    for batch_size in (16, 12, 7):
        source = Stream(inputs)
        feed = Feed(Split(source, np.zeros(N, np.int32)), place)
        for i, batch in enumerate(feed.batches(order, batch_size)):
            rows = order[i * batch_size : (i + 1) * batch_size]
            assert batch.rows is None
            np.testing.assert_array_equal(place.gathered(batch.pool), inputs[rows])
        assert i == (N - 1) // batch_size
        taken[batch_size] = source.taken
    print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
