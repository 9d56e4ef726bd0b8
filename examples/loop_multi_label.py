"""Several labels at once: what is true of a digit's number. Touched lines are marked  # +

    python examples/loop_multi_label.py

Even, prime, above four, a square: four switches an image, a binary cross-entropy each. The loss by
name is "sigmoid"; no classes and no groups are needed, and gradmatch-pb reads all of the gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradmatch_jax import Selector, split_forward, weighted_batches
from gradmatch_jax.data import load_dataset

DATA = load_dataset("digits")
x, x_test = (s.inputs.reshape(len(s), -1) / np.float32(255) for s in (DATA.train, DATA.test))
OF = np.array([[d % 2 == 0, d in (2, 3, 5, 7), d > 4, d in (0, 1, 4, 9)] for d in range(10)])
y, y_test = (OF[s.labels].astype(np.float32) for s in (DATA.train, DATA.test))


@jax.jit
def body(params, x):
    """The features."""
    return jax.nn.relu(x @ params["W"] + params["b"])


@jax.jit
def head(params, h):
    """The logits, (n, 4)."""
    return h @ params["V"] + params["c"]


def loss(params, x, y, w):  # +
    """The mean of w_i l_i, l_i itself a mean over the labels."""
    losses = optax.sigmoid_binary_cross_entropy(head(params, body(params, x)), y)
    return jnp.mean(w * jnp.mean(losses, axis=1))  # +


@jax.jit
def step(params, *batch):
    """One step of SGD."""
    return jax.tree.map(lambda p, g: p - 0.3 * g, params, jax.grad(loss)(params, *batch))


def train(strategy="gradmatch-pb", seed=0, epochs=60):
    """Train; the share of the test labels that are right, in percent."""
    keys = jax.random.split(jax.random.key(seed))
    params = {
        "W": jax.random.normal(keys[0], (64, 128)) / 8, "b": jnp.zeros((1, 128)),
        "V": jax.random.normal(keys[1], (128, 4)) / 12, "c": jnp.zeros((1, 4)),
    }  # fmt: skip
    selector = Selector(  # +
        strategy, labels=y, fraction=0.05, every=10, seed=seed, loss="sigmoid",
        forward=split_forward(lambda x: body(params, x), lambda h: head(params, h), x),
    )  # fmt: skip
    for epoch in range(epochs):
        for batch in weighted_batches(selector, epoch, (x, y), batch_size=20):  # +
            params = step(params, *batch)
    return 100 * float(np.mean((head(params, body(params, x_test)) > 0) == (y_test > 0.5)))


if __name__ == "__main__":
    for seed in range(3):
        chosen, drawn = train(seed=seed), train("random", seed)
        print(f"seed {seed}: gradmatch-pb {chosen:.1f} %, random {drawn:.1f} %")
