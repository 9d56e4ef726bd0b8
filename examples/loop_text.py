"""Text: which page of Python's own manual a line is from. Touched lines are marked  # +

    python examples/loop_text.py

Words are counted on the training lines, a line is the mean of its words' vectors, and the classes
are the eight longest pages that `help()` knows.
"""

from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradmatch_jax import Selector, split_forward, weighted_batches
from gradmatch_jax.data.words import encode, make_vocabulary, split_words

CLASSES, LENGTH, WIDTH = 8, 16, 64


def read():
    """Lines of five words or more as token ids, and their pages."""
    pages = sorted(topics, key=lambda name: -len(topics[name]))[:CLASSES]
    lines = [
        (split_words(line), page)
        for page, name in enumerate(pages)
        for line in dict.fromkeys(topics[name].splitlines())
        if len(line.split()) >= 5
    ]
    order = np.random.default_rng(0).permutation(len(lines))
    words, labels = zip(*(lines[i] for i in order), strict=True)
    cut = len(lines) * 4 // 5
    vocabulary = make_vocabulary(words[:cut])
    ids, labels = encode(words, vocabulary, LENGTH), np.array(labels, np.int32)
    return ids[:cut], labels[:cut], ids[cut:], labels[cut:], len(vocabulary)


x, y, x_test, y_test, WORDS = read()


@jax.jit
def body(params, x):
    """The features: the mean of the words' vectors, padding (0) apart."""
    real = (x > 0)[:, :, None]
    return jnp.sum(params["E"][x] * real, axis=1) / jnp.maximum(jnp.sum(real, axis=1), 1)


@jax.jit
def head(params, h):
    """The logits."""
    return h @ params["W"] + params["b"]


def loss(params, x, y, w):  # +
    """The mean of w_i l_i."""
    logits = head(params, body(params, x))
    return jnp.mean(w * optax.softmax_cross_entropy_with_integer_labels(logits, y))  # +


@jax.jit
def step(params, *batch):
    """One step of SGD."""
    return jax.tree.map(lambda p, g: p - 2.0 * g, params, jax.grad(loss)(params, *batch))


def train(strategy="gradmatch", seed=0, epochs=60):
    """Train; the test accuracy in percent."""
    keys = jax.random.split(jax.random.key(seed))
    params = {
        "E": 0.3 * jax.random.normal(keys[0], (WORDS, WIDTH)),
        "W": jax.random.normal(keys[1], (WIDTH, CLASSES)) / 8, "b": jnp.zeros((1, CLASSES)),
    }  # fmt: skip
    selector = Selector(  # +
        strategy, labels=y, fraction=0.1, every=5, seed=seed,
        forward=split_forward(lambda x: body(params, x), lambda h: head(params, h), x),
    )  # fmt: skip
    for epoch in range(epochs):
        for batch in weighted_batches(selector, epoch, (x, y), batch_size=20):  # +
            params = step(params, *batch)
    return 100 * float(np.mean(np.argmax(head(params, body(params, x_test)), axis=1) == y_test))


if __name__ == "__main__":
    for seed in range(3):
        print(
            f"seed {seed}: gradmatch {train(seed=seed):.1f} %, random {train('random', seed):.1f} %"
        )
