"""`select_subset` in a training loop of your own: plain JAX, a model that is not ours.

    python examples/own_loop.py

Trains a two-layer network on the embedded digits, on a twentieth of the examples, chosen anew every
ten epochs so that their weighted gradients add up to the gradient of all of them. What the library
needs of a model is in `forward`: the logits, and the features that enter its last layer.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradmatch_jax import last_layer_gradients, partition, select_subset
from gradmatch_jax.data import load_dataset

EPOCHS, SELECT_EVERY, BATCH, FRACTION, LR = 60, 10, 20, 0.05, 0.1


def forward(params, x):
    """Logits, and the features that enter the last layer."""
    features = jax.nn.relu(x @ params["W1"] + params["b1"])
    return features @ params["W2"] + params["b2"], features


def loss(params, x, y, w):
    """The weighted loss: mean of w_i l_i."""
    logits, _ = forward(params, x)
    return jnp.mean(w * optax.softmax_cross_entropy_with_integer_labels(logits, y))


@jax.jit
def step(params, x, y, w):
    """One step of SGD."""
    grads = jax.grad(loss)(params, x, y, w)
    return jax.tree.map(lambda p, g: p - LR * g, params, grads)


@jax.jit
def choose(params, x, y, groups):
    """The subset: one matching problem a class, all of it inside jit."""
    gradients = last_layer_gradients(*forward(params, x), y)
    return select_subset(gradients, groups.budget, labels=groups)


def main() -> float:
    """Train; returns the test accuracy in percent."""
    data = load_dataset("digits")
    x, x_test = (s.inputs.reshape(len(s), -1) / 255.0 for s in (data.train, data.test))
    y = data.train.labels
    groups = partition(y, budget=round(FRACTION * len(y)))  # once, on the host

    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "W1": jax.random.normal(keys[0], (64, 128)) / 8, "b1": jnp.zeros(128),
        "W2": jax.random.normal(keys[1], (128, 10)) / 12, "b2": jnp.zeros(10),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    for epoch in range(EPOCHS):
        if epoch % SELECT_EVERY == 0:
            chosen = choose(params, x, y, groups)
            rows = np.asarray(chosen.indices)[: int(chosen.size)]
            weights = np.asarray(chosen.weights)[: int(chosen.size)]
            weights = weights / weights.mean()  # once a selection, not once a batch
        order = rng.permutation(len(rows))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            part = order[start : start + BATCH]
            params = step(params, x[rows[part]], y[rows[part]], weights[part])
    logits, _ = forward(params, x_test)
    accuracy = 100 * float(np.mean(np.argmax(logits, axis=1) == data.test.labels))
    error = float(chosen.matching_error)
    print(
        f"{len(rows)} of {len(y)} examples: test accuracy {accuracy:.1f} %, matched to {error:.3f}"
    )
    return accuracy


if __name__ == "__main__":
    main()
