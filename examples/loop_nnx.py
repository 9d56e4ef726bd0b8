"""Flax NNX, digits: a loop of one's own on 5 % of the data. Touched lines are marked  # +

python examples/loop_nnx.py
"""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from gradmatch_jax import Selector, nnx_forward, weighted_batches
from gradmatch_jax.data import load_dataset

DATA = load_dataset("digits")
x, x_test = (s.inputs.reshape(len(s), -1) / np.float32(255) for s in (DATA.train, DATA.test))
y, y_test = DATA.train.labels, DATA.test.labels


class Net(nnx.Module):
    """Two layers; `head` is the last."""

    def __init__(self, rngs):
        self.body, self.head = nnx.Linear(64, 128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        """The logits."""
        return self.head(nnx.relu(self.body(x)))


def loss(model, x, y, w):  # +
    """The mean of w_i l_i."""
    return jnp.mean(w * optax.softmax_cross_entropy_with_integer_labels(model(x), y))  # +


@nnx.jit
def step(model, optimizer, *batch):
    """One step of SGD."""
    optimizer.update(model, nnx.grad(loss)(model, *batch))


def train(strategy="gradmatch", seed=0, epochs=60):
    """Train; the test accuracy in percent."""
    model = Net(nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    selector = Selector(  # +
        strategy, labels=y, fraction=0.05, every=10, seed=seed,
        forward=nnx_forward(model, model.head, x),
    )  # fmt: skip
    for epoch in range(epochs):
        for batch in weighted_batches(selector, epoch, (x, y), batch_size=20):  # +
            step(model, optimizer, *batch)
    return 100 * float(np.mean(np.argmax(model(x_test), axis=1) == y_test))


if __name__ == "__main__":
    for seed in range(3):
        print(
            f"seed {seed}: gradmatch {train(seed=seed):.1f} %, random {train('random', seed):.1f} %"
        )
