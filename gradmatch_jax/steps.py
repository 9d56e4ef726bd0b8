"""The jitted steps: a weighted SGD step, an epoch of them, and passes over the data."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gradmatch_jax.data import Dataset
from gradmatch_jax.data.augment import augment, normalise
from gradmatch_jax.feed import Feed
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.strategies.strategy import Seen

# Steps in one call on an accelerator: enough to hide their launch, and a fixed number, so that
# epochs of different sizes share a compilation.
SCAN = 64


class Learner(NamedTuple):
    """What SGD changes."""

    variables: Variables
    momentum: Any  # the optimiser's state


class Outcome(NamedTuple):
    """What a step saw of its mini-batch, before it changed the learner."""

    loss: Float[Array, ""]  # what was minimised: the mean of w_i l_i
    losses: Float[Array, "b"]  # l_i, unweighted
    correct: Bool[Array, "b"]


class Steps(NamedTuple):
    """The functions a run is made of; all jitted, the learner donated where it is changed."""

    init: Callable[[PRNGKeyArray], Learner]
    train: Callable[..., tuple[Learner, Outcome]]
    train_scan: Callable[..., tuple[Learner, Outcome]]
    predict: Callable[..., tuple[Array, Array]]
    gradient_norms: Callable[..., Array]
    widths: Callable[[Variables], tuple[int, int]]  # of logits and features


def weighted_loss(
    logits: Float[Array, "b C"], labels: Int[Array, "b"], weights: Float[Array, "b"]
) -> Outcome:
    """Mean of w_i l_i over the mini-batch, l_i the softmax cross-entropy, and what it is made of.

    Not divided by the batch's own weights: that would cancel weights that a batch shares.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = jnp.argmax(logits, axis=1) == labels
    return Outcome(jnp.mean(weights * losses), losses, correct)


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

    def step(learner: Learner, pool, labels, rows, weights, lr, key, i):
        images = pool[rows]
        if augmented:
            key = jax.random.fold_in(key, i)
            images = augment(key, images, crop_padding=pixels.crop_padding, flip=pixels.flip)
        inputs = normalise(images, mean, std)

        def loss(params):
            variables = Variables(params, learner.variables.stats)
            logits, _, stats = model.apply(variables, inputs, True)
            outcome = weighted_loss(logits, labels, weights)
            return outcome.loss, (outcome, stats)

        params = learner.variables.params
        (_, (outcome, stats)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        direction, state = optimiser.update(grads, learner.momentum, params)
        params = jax.tree.map(lambda p, d: p - lr * d, params, direction)
        return Learner(Variables(params, stats), state), outcome

    def scan(learner: Learner, pool, labels, rows, weights, lr, key, start):
        """Steps `start` on in one call: rows and weights (steps, b), labels are of the pool."""

        def one(learner, part):
            row, weight, i = part
            return step(learner, pool, labels[row], row, weight, lr, key, i)

        return jax.lax.scan(one, learner, (rows, weights, start + jnp.arange(rows.shape[0])))

    def predict(variables: Variables, pool, rows, outputs, start):
        """Write a batch's logits and features into `outputs` from row `start` on."""
        logits, features, _ = model.apply(variables, normalise(pool[rows], mean, std), False)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=0)
            for whole, part in zip(outputs, (logits, features), strict=True)
        )

    def gradient_norms(variables: Variables, pool, labels, rows):
        """‖dl_i/dtheta‖ of each row over all parameters, in evaluation mode, by vmap(grad)."""

        def loss(params, image, label):
            inputs = normalise(image[None], mean, std)
            logits, _, _ = model.apply(Variables(params, variables.stats), inputs, False)
            return optax.softmax_cross_entropy_with_integer_labels(logits, label[None])[0]

        each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
        grads = jax.tree.leaves(each(variables.params, pool[rows], labels))
        return jnp.sqrt(sum(jnp.sum(g.reshape(len(rows), -1) ** 2, axis=1) for g in grads))

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
        gradient_norms=jax.jit(gradient_norms),
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
    scan: bool | None = None,
    relative_weights: bool = False,
    whole_batches: bool = False,
) -> tuple[Learner, float, Seen]:
    """One epoch of SGD over `indices` in a fresh order: learner, mean loss, what it saw.

    scan: whether steps run SCAN at a time in one call, which hides their launch. None: on
      accelerators, for images in memory. On a CPU a scan of convolutions is several times slower
      than a Python loop (XLA).
    relative_weights: bring the weights to mean 1 in each mini-batch. What a batch's members share
      cancels.
    whole_batches: leave out a ragged last batch, which would compile once a size where epochs
      differ in size; what is left out is as random as the order.
    """
    order_key, step_key = jax.random.split(key)
    # On the host: jax.random.permutation compiles anew for every size.
    order = np.random.default_rng(np.asarray(jax.random.key_data(order_key))).permutation(
        len(indices)
    )
    if whole_batches and len(indices) > batch_size:
        order = order[: len(indices) // batch_size * batch_size]
    indices, weights = indices[order].astype(np.int32), weights[order].astype(np.float32)
    if relative_weights:
        weights = _relative(weights, batch_size)
    outcomes: list[Outcome] = []
    scan = jax.default_backend() != "cpu" and feed.resident if scan is None else scan
    chunk = min(SCAN, len(indices) // batch_size) if scan else 0
    done = len(indices) // batch_size // chunk * chunk if chunk else 0
    cut = done * batch_size
    for start in range(0, done, max(chunk, 1)):
        pool = next(feed.batches(indices[:1], 1)).pool
        part = slice(start * batch_size, (start + chunk) * batch_size)
        rows = indices[part].reshape(chunk, batch_size)
        learner, outcome = steps.train_scan(
            learner, pool, feed.labels, rows, weights[part].reshape(rows.shape), lr, step_key,
            start,
        )  # fmt: skip
        outcomes.append(outcome)
    labels = feed.host_labels[indices]
    for i, batch in enumerate(feed.batches(indices[cut:], batch_size), start=done):
        part = slice(i * batch_size, i * batch_size + len(batch.rows))
        learner, outcome = steps.train(
            learner, batch.pool, labels[part], batch.rows, weights[part], lr, step_key, i
        )
        outcomes.append(outcome)
    losses = np.concatenate([np.ravel(o.losses) for o in outcomes] or [np.zeros(0, np.float32)])
    correct = np.concatenate([np.ravel(o.correct) for o in outcomes] or [np.zeros(0, bool)])
    mean = float(np.mean(weights * losses)) if len(losses) else 0.0
    return learner, mean, Seen(indices, losses, correct)


def _relative(weights: Float[np.ndarray, "k"], batch_size: int) -> Float[np.ndarray, "k"]:
    """Weights of mean 1 in each batch; a batch of zeros stays one."""
    starts = np.arange(0, len(weights), batch_size)
    sums = np.repeat(np.add.reduceat(weights, starts), batch_size)[: len(weights)]
    sizes = np.repeat(np.diff(np.append(starts, len(weights))), batch_size)[: len(weights)]
    return (weights * sizes / np.where(sums > 0, sums, 1.0)).astype(np.float32)


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


def collect_gradient_norms(
    steps: Steps, variables: Variables, feed: Feed, *, memory: int = 2**28
) -> Float[Array, "n"]:
    """‖dl_i/dtheta‖ over all parameters of every example in order (GraNd's score).

    memory: bytes that the gradients of a batch may take.
    """
    n, size = len(feed), 4 * sum(x.size for x in jax.tree.leaves(variables.params))
    batch_size = max(1, min(n, 50, memory // size))
    order = np.arange(-(-n // batch_size) * batch_size, dtype=np.int32) % n
    norms = [
        steps.gradient_norms(variables, batch.pool, feed.host_labels[part], batch.rows)
        for part, batch in zip(
            order.reshape(-1, batch_size), feed.batches(order, batch_size), strict=True
        )
    ]
    return jnp.asarray(np.concatenate([np.asarray(x) for x in norms])[:n])
