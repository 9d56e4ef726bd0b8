"""Regression: the number that a digit shows, as a number. Touched lines are marked  # +

    python examples/loop_regression.py

A loss by name, "mse", and groups by the quantiles of the labels: a problem for each of ten parts of
their range. Here the selection is no sure gain: lower in error than a fixed random tenth for seeds
0 and 2 (1.98 against 2.03, 1.73 against 2.18), higher for seed 1 (2.14 against 1.82).
"""

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax import Selector, split_forward, weighted_batches
from gradmatch_jax.data import load_dataset

DATA = load_dataset("digits")
x, x_test = (s.inputs.reshape(len(s), -1) / np.float32(255) for s in (DATA.train, DATA.test))
y, y_test = (s.labels.astype(np.float32) / 9 for s in (DATA.train, DATA.test))


@jax.jit
def body(params, x):
    """The features."""
    return jax.nn.relu(x @ params["W"] + params["b"])


@jax.jit
def head(params, h):
    """The output, (n, 1)."""
    return h @ params["V"] + params["c"]


def loss(params, x, y, w):  # +
    """The mean of w_i l_i."""
    return jnp.mean(w * (head(params, body(params, x))[:, 0] - y) ** 2)  # +


@jax.jit
def step(params, *batch):
    """One step of SGD."""
    return jax.tree.map(lambda p, g: p - 0.03 * g, params, jax.grad(loss)(params, *batch))


def train(strategy="gradmatch", seed=0, epochs=60):
    """Train; the test error, root mean square in digits."""
    keys = jax.random.split(jax.random.key(seed))
    params = {
        "W": jax.random.normal(keys[0], (64, 128)) / 8, "b": jnp.zeros((1, 128)),
        "V": jax.random.normal(keys[1], (128, 1)) / 12, "c": jnp.zeros((1, 1)),
    }  # fmt: skip
    selector = Selector(  # +
        strategy, labels=y, fraction=0.1, every=5, seed=seed, loss="mse", groups=10,
        forward=split_forward(lambda x: body(params, x), lambda h: head(params, h), x),
    )  # fmt: skip
    for epoch in range(epochs):
        for batch in weighted_batches(selector, epoch, (x, y), batch_size=20):  # +
            params = step(params, *batch)
    errors = head(params, body(params, x_test))[:, 0] - y_test
    return 9 * float(jnp.sqrt(jnp.mean(errors**2)))


if __name__ == "__main__":
    for seed in range(3):
        chosen, drawn = train(seed=seed), train("random", seed)
        print(f"seed {seed}: gradmatch {chosen:.2f}, random {drawn:.2f}")
