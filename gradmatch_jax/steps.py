"""The jitted steps: a weighted SGD step, an epoch of them, and passes over the data."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.data import Dataset
from gradmatch_jax.data.augment import augment, normalise
from gradmatch_jax.feed import Feed
from gradmatch_jax.models.model import Model, Variables


class Learner(NamedTuple):
    """What SGD changes."""

    variables: Variables
    momentum: Any  # the optimiser's state


class Steps(NamedTuple):
    """The functions a run is made of; all jitted, the learner donated where it is changed."""

    init: Callable[[PRNGKeyArray], Learner]
    train: Callable[..., tuple[Learner, Array]]
    train_scan: Callable[..., tuple[Learner, Array]]
    predict: Callable[..., tuple[Array, Array]]
    widths: Callable[[Variables], tuple[int, int]]  # of logits and features


def weighted_loss(
    logits: Float[Array, "b C"], labels: Int[Array, "b"], weights: Float[Array, "b"]
) -> Float[Array, ""]:
    """Mean of w_i l_i over the mini-batch, l_i the softmax cross-entropy.

    Not divided by the batch's own weights: that would cancel weights that a batch shares.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(weights * losses)


class Pixels(NamedTuple):
    """What the steps know of a data set: enough to prepare its images, and hashable."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool


def make_steps(
    model: Model, dataset: Dataset, *, momentum: float, weight_decay: float, augmented: bool
) -> Steps:
    """Compile-ready steps for a model on a data set.

    SGD is PyTorch's: v <- momentum v + (g + weight_decay p), p <- p - lr v (paper, A.3.2).
    The same arguments give the same steps, so that a second run compiles nothing.
    """
    d = dataset
    pixels = Pixels(d.train.shape, d.mean, d.std, d.crop_padding, d.flip)
    return _make_steps(model, pixels, momentum, weight_decay, augmented)


@functools.lru_cache(maxsize=8)
def _make_steps(
    model: Model, pixels: Pixels, momentum: float, weight_decay: float, augmented: bool
) -> Steps:
    optimiser = optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(momentum))
    mean, std = pixels.mean, pixels.std

    def init(key) -> Learner:
        variables = model.init(key)
        return Learner(variables, optimiser.init(variables.params))

    def step(learner: Learner, pool, labels, rows, weights, lr, key, i) -> tuple[Learner, Array]:
        images = pool[rows]
        if augmented:
            key = jax.random.fold_in(key, i)
            images = augment(key, images, crop_padding=pixels.crop_padding, flip=pixels.flip)
        inputs = normalise(images, mean, std)

        def loss(params):
            variables = Variables(params, learner.variables.stats)
            logits, _, stats = model.apply(variables, inputs, True)
            return weighted_loss(logits, labels, weights), stats

        params = learner.variables.params
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params)
        direction, state = optimiser.update(grads, learner.momentum, params)
        params = jax.tree.map(lambda p, d: p - lr * d, params, direction)
        return Learner(Variables(params, stats), state), value

    def scan(learner: Learner, pool, labels, rows, weights, lr, key):
        """Many steps in one call: rows and weights are (steps, b), labels are of the pool."""

        def one(learner, part):
            row, weight, i = part
            return step(learner, pool, labels[row], row, weight, lr, key, i)

        return jax.lax.scan(one, learner, (rows, weights, jnp.arange(rows.shape[0])))

    def predict(variables: Variables, pool, rows, outputs, start):
        """Write a batch's logits and features into `outputs` from row `start` on."""
        logits, features, _ = model.apply(variables, normalise(pool[rows], mean, std), False)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=0)
            for whole, part in zip(outputs, (logits, features), strict=True)
        )

    def widths(variables: Variables) -> tuple[int, int]:
        one = jax.ShapeDtypeStruct((1, *pixels.shape), jnp.float32)
        logits, features, _ = jax.eval_shape(
            lambda variables, images: model.apply(variables, images, False), variables, one
        )
        return logits.shape[1], features.shape[1]

    return Steps(
        init=init,
        train=jax.jit(step, donate_argnums=0),
        train_scan=jax.jit(scan, donate_argnums=0),
        predict=jax.jit(predict, donate_argnums=3),
        widths=widths,
    )


def run_epoch(
    steps: Steps,
    learner: Learner,
    feed: Feed,
    indices: Int[np.ndarray, "k"],
    weights: Float[np.ndarray, "k"],
    *,
    batch_size: int,
    lr: float,
    key: PRNGKeyArray,
) -> tuple[Learner, float]:
    """One epoch of SGD over `indices` in a fresh order; returns the learner and the mean loss.

    On accelerators the full batches run in one scan, which hides the launch of each step; on CPU
    a scan of convolutions is several times slower than a Python loop (XLA), so it loops there.
    """
    order_key, step_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, len(indices)))
    indices, weights = indices[order].astype(np.int32), weights[order].astype(np.float32)
    losses, sizes = [], []
    done = len(indices) // batch_size if feed.resident and jax.default_backend() != "cpu" else 0
    cut = done * batch_size
    if done:
        pool = next(feed.batches(indices[:1], 1)).pool
        rows = indices[:cut].reshape(done, batch_size)
        learner, values = steps.train_scan(
            learner, pool, feed.labels, rows, weights[:cut].reshape(rows.shape), lr, step_key
        )
        losses.append(jnp.mean(values))
        sizes.append(cut)
    labels = feed.host_labels[indices]
    for i, batch in enumerate(feed.batches(indices[cut:], batch_size), start=done):
        part = slice(i * batch_size, i * batch_size + len(batch.rows))
        learner, value = steps.train(
            learner, batch.pool, labels[part], batch.rows, weights[part], lr, step_key, i
        )
        losses.append(value)
        sizes.append(len(batch.rows))
    total = sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True))
    return learner, total / max(sum(sizes), 1)


def evaluate(steps: Steps, variables: Variables, feed: Feed) -> float:
    """Top-1 accuracy in percent."""
    logits, _ = collect(steps, variables, feed)
    return 100.0 * float(np.mean(np.asarray(jnp.argmax(logits, axis=1)) == feed.host_labels))


def collect(
    steps: Steps, variables: Variables, feed: Feed, *, batch_size: int | None = None
) -> tuple[Float[Array, "n C"], Float[Array, "n E"]]:
    """Logits and features of every example in order, in evaluation mode, without augmentation.

    batch_size: None is 50 on a CPU, whose caches a larger one leaves, and 1000 elsewhere.
    """
    n = len(feed)
    batch_size = min(batch_size or (50 if jax.default_backend() == "cpu" else 1000), n)
    # The last batch wraps around to the first rows, so that one shape is compiled.
    order = np.arange(-(-n // batch_size) * batch_size, dtype=np.int32) % n
    outputs = tuple(jnp.zeros((len(order), width)) for width in steps.widths(variables))
    for i, batch in enumerate(feed.batches(order, batch_size)):
        outputs = steps.predict(variables, batch.pool, batch.rows, outputs, i * batch_size)
    logits, features = outputs
    return logits[:n], features[:n]
