"""Flax Linen, digits: a loop of one's own on 5 % of the data. Touched lines are marked  # +

python examples/loop_linen.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gradmatch_jax import Selector, linen_forward, weighted_batches
from gradmatch_jax.data import load_dataset

DATA = load_dataset("digits")
x, x_test = (s.inputs.reshape(len(s), -1) / np.float32(255) for s in (DATA.train, DATA.test))
y, y_test = DATA.train.labels, DATA.test.labels


class Net(nn.Module):
    """Two layers; "head" is the last."""

    @nn.compact
    def __call__(self, x):
        """The logits."""
        return nn.Dense(10, name="head")(nn.relu(nn.Dense(128)(x)))


def loss(params, x, y, w):  # +
    """The mean of w_i l_i."""
    logits = Net().apply({"params": params}, x)
    return jnp.mean(w * optax.softmax_cross_entropy_with_integer_labels(logits, y))  # +


@jax.jit
def step(params, *batch):
    """One step of SGD."""
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params, *batch))


def train(strategy="gradmatch", seed=0, epochs=60):
    """Train; the test accuracy in percent."""
    params = Net().init(jax.random.key(seed), x[:1])["params"]
    selector = Selector(  # +
        strategy, labels=y, fraction=0.05, every=10, seed=seed,
        forward=linen_forward(Net(), "head", lambda: {"params": params}, x),
    )  # fmt: skip
    for epoch in range(epochs):
        for batch in weighted_batches(selector, epoch, (x, y), batch_size=20):  # +
            params = step(params, *batch)
    logits = Net().apply({"params": params}, x_test)
    return 100 * float(np.mean(np.argmax(logits, axis=1) == y_test))


if __name__ == "__main__":
    for seed in range(3):
        print(
            f"seed {seed}: gradmatch {train(seed=seed):.1f} %, random {train('random', seed):.1f} %"
        )
