"""Equinox, digits: a loop of one's own on 5 % of the data. Touched lines are marked  # +

python examples/loop_equinox.py        # pip install equinox
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import vmap

from gradmatch_jax import Selector, split_forward, weighted_batches
from gradmatch_jax.data import load_dataset

DATA = load_dataset("digits")
x, x_test = (s.inputs.reshape(len(s), -1) / np.float32(255) for s in (DATA.train, DATA.test))
y, y_test = DATA.train.labels, DATA.test.labels


class Net(eqx.Module):
    """Two layers: `body` and `head`."""

    layer: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key)
        self.layer = eqx.nn.Linear(64, 128, key=keys[0])
        self.head = eqx.nn.Linear(128, 10, key=keys[1])

    def body(self, x):
        """The features of one image."""
        return jax.nn.relu(self.layer(x))

    def __call__(self, x):
        """Its logits."""
        return self.head(self.body(x))


def loss(model, x, y, w):  # +
    """The mean of w_i l_i."""
    losses = optax.softmax_cross_entropy_with_integer_labels(vmap(model)(x), y)
    return jnp.mean(w * losses)  # +


@eqx.filter_jit
def step(model, *batch):
    """One step of SGD."""
    return eqx.apply_updates(
        model, jax.tree.map(lambda g: -0.1 * g, eqx.filter_grad(loss)(model, *batch))
    )


def train(strategy="gradmatch", seed=0, epochs=60):
    """Train; the test accuracy in percent."""
    model = Net(jax.random.key(seed))
    selector = Selector(  # +
        strategy, labels=y, fraction=0.05, every=10, seed=seed,
        forward=split_forward(lambda x: vmap(model.body)(x), lambda h: vmap(model.head)(h), x),
    )  # fmt: skip
    for epoch in range(epochs):
        for batch in weighted_batches(selector, epoch, (x, y), batch_size=20):  # +
            model = step(model, *batch)
    return 100 * float(np.mean(np.argmax(vmap(model)(x_test), axis=1) == y_test))


if __name__ == "__main__":
    for seed in range(3):
        print(
            f"seed {seed}: gradmatch {train(seed=seed):.1f} %, random {train('random', seed):.1f} %"
        )
