"""Host loops over the data: an epoch of weighted SGD, and passes that collect what it gives."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gradmatch_jax.errors import Stopped, UserError
from gradmatch_jax.models.model import Variables
from gradmatch_jax.strategies.strategy import Seen
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.placement import Placement
from gradmatch_jax.training.schedule import UNWEIGHTED, Batching
from gradmatch_jax.training.steps import Learner, Outcome, Steps

# Steps in one call on an accelerator: enough to hide their launch, and a fixed number, so that
# epochs of different sizes share a compilation.
SCAN = 64

# Forward batches in one call on a CPU: enough to hide a call's cost (a LeNet pass takes 1.25 times
# as long batch by batch), few enough that a stream reads ahead in tens of megabytes.
IN_A_CALL = 8


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
    batching: Batching = UNWEIGHTED,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Learner, float, Seen]:
    """One epoch of SGD over `indices` in a fresh order: learner, mean loss, what it saw.

    Args:
        steps: of the network.
        learner: donated.
        feed: the split.
        indices: rows of it.
        weights: w_i of each.
        batch_size: examples a step.
        lr: the epoch's.
        key: of the order and the augmentation.
        scan: whether steps run SCAN at a time in one call, which hides their launch. None: on
          accelerators, for inputs in memory. On a CPU a scan of convolutions is several times
          slower than a Python loop (XLA).
        stop: asked after each call whether to leave the epoch where it is, for good.
        batching: weights at "batch" are brought to mean 1 in each mini-batch, where what its
          members share cancels. `whole` leaves out a ragged last batch, which would compile once a
          size where epochs differ in size; what is left out is as random as the order.

    Returns:
        The learner after it; the mean of w_i l_i over its examples; what it saw of them.

    Raises:
        Stopped: `stop` said so; the learner is lost.
    """
    order_key, step_key = jax.random.split(key)
    # On the host: jax.random.permutation compiles anew for every size.
    order = np.random.default_rng(np.asarray(jax.random.key_data(order_key))).permutation(
        len(indices)
    )
    if batching.whole and len(indices) > batch_size:
        order = order[: len(indices) // batch_size * batch_size]
    indices, weights = indices[order].astype(np.int32), weights[order].astype(np.float32)
    if batching.weights == "batch":
        weights = relative(weights, batch_size)
    outcomes: list[Outcome] = []
    sizes: list[int] = []  # of the mini-batches
    split = feed.place.split
    scan = jax.default_backend() != "cpu" and feed.resident if scan is None else scan
    chunk = min(SCAN, len(indices) // batch_size) if scan else 0
    done = len(indices) // batch_size // chunk * chunk if chunk else 0
    cut = done * batch_size
    for start in range(0, done, max(chunk, 1)):
        pool = next(feed.batches(indices[:1], 1)).pool
        part = slice(start * batch_size, (start + chunk) * batch_size)
        rows, each = (x[part].reshape(chunk, batch_size) for x in (indices, weights))
        learner, outcome = steps.train_scan(
            learner, pool, feed.labels, split(rows, 1), split(each, 1), lr, step_key, start
        )
        outcomes.append(outcome)
        sizes += [batch_size] * chunk
        _leave_if(stop)
    labels = feed.host_labels[indices]
    for i, batch in enumerate(feed.batches(indices[cut:], batch_size), start=done):
        part = slice(i * batch_size, (i + 1) * batch_size)
        label, weight = split(labels[part]), split(weights[part])
        learner, outcome = steps.train(
            learner, batch.pool, label, batch.rows, weight, lr, step_key, i
        )
        outcomes.append(outcome)
        sizes.append(len(label))
        _leave_if(stop)
    return learner, _mean_loss(outcomes, sizes), Seen(indices, _recorded(outcomes))


def _leave_if(stop: Callable[[], bool]) -> None:
    if stop():
        raise Stopped("asked to stop within an epoch")


def _mean_loss(outcomes: list[Outcome], sizes: list[int]) -> float:
    """The mean over the examples, from the means over mini-batches."""
    if not outcomes:
        return 0.0
    losses = np.concatenate([np.ravel(o.loss) for o in outcomes]).astype(np.float64)
    return float(np.average(losses, weights=sizes))


def _recorded(outcomes: list[Outcome]) -> dict[str, np.ndarray]:
    """What the steps recorded, one row an example, in the order they were taken."""
    names = outcomes[0].recorded if outcomes else ()

    def rows(outcome: Outcome, name: str) -> np.ndarray:
        values = np.asarray(outcome.recorded[name])
        scanned = np.ndim(outcome.loss) == 1  # a row a step: (steps, b, ...)
        return values.reshape(-1, *values.shape[2:]) if scanned else values

    return {name: np.concatenate([rows(o, name) for o in outcomes]) for name in names}


def relative(weights: Float[np.ndarray, "k"], batch_size: int) -> Float[np.ndarray, "k"]:
    """Weights of mean 1 in each batch; a batch of zeros stays one."""
    starts = np.arange(0, len(weights), batch_size)
    sums = np.repeat(np.add.reduceat(weights, starts), batch_size)[: len(weights)]
    sizes = np.repeat(np.diff(np.append(starts, len(weights))), batch_size)[: len(weights)]
    return (weights * sizes / np.where(sums > 0, sums, 1.0)).astype(np.float32)


def evaluate(steps: Steps, variables: Variables, feed: Feed) -> float:
    """Top-1 accuracy in percent."""
    logits, _ = collect(steps, variables, feed)
    return accuracy(logits, feed.labels)


def accuracy(logits: Float[Array, "n C"], labels: Int[Array, "n"]) -> float:
    """Top-1 accuracy in percent of a pass that was made anyway: a selection's, say."""
    return 100.0 * int(jnp.sum(jnp.argmax(logits, axis=1) == labels)) / len(labels)


def collect(
    steps: Steps,
    variables: Variables,
    feed: Feed,
    *,
    rows: Int[np.ndarray, "n"] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
) -> tuple[Float[Array, "n C"], Float[Array, "n E"]]:
    """Logits and features of examples in order, in evaluation mode, without augmentation.

    The network compiles once for a batch size: another split, or another n, compiles only the
    copies around it.

    Args:
        steps: of the network.
        variables: its parameters and statistics.
        feed: the split.
        rows: of the split; None for all of them.
        batch_size: of a forward pass; None is 50 on a CPU, whose caches a larger one leaves, and
          1000 elsewhere.
        dtype: what to keep them in, "bfloat16" or "float16"; None is as the network gives them.

    Returns:
        Both on the device, a row an example; on several devices, each of which passes its stretch
        of the rows, whole on every one.

    Raises:
        UserError: numbers that `dtype` does not reach.
    """
    rows = np.arange(len(feed), dtype=np.int32) if rows is None else rows
    n, on_cpu, devices = len(rows), jax.default_backend() == "cpu", feed.place.devices
    share = -(-n // devices)  # of a device
    batch_size = min(batch_size or (50 if on_cpu else 1000), share)
    at_once = IN_A_CALL if on_cpu else 1
    order = _by_device(rows, devices, batch_size * at_once)
    parts = []
    for batch in feed.batches(order, devices * batch_size * at_once):
        left = -(-share // batch_size) - len(parts) * at_once
        raw = _batches_of(batch.pool, batch.rows, batch_size)
        made = steps.predict(variables, raw, min(left, at_once))
        parts.append(made if dtype is None else _kept(made, dtype))
    if dtype is not None:
        parts = _within_reach(parts, dtype)
    logits, features = zip(*parts, strict=True)
    return _joined(logits, n, feed.place), _joined(features, n, feed.place)


@functools.partial(jax.jit, static_argnums=1)
def _kept(made: tuple[Array, Array], dtype: str) -> tuple[Array, Array, Array]:
    """Both in a narrower type, and how many numbers became infinite by that."""
    logits, features = (x.astype(dtype) for x in made)
    lost = [
        jnp.sum(jnp.isfinite(x) & ~jnp.isfinite(y), dtype=jnp.int32)
        for x, y in zip(made, (logits, features), strict=True)
    ]
    return logits, features, sum(lost, jnp.zeros((), jnp.int32))


def _within_reach(parts: list[tuple[Array, Array, Array]], dtype: str) -> list[tuple[Array, Array]]:
    lost = sum(int(count) for *_, count in parts)
    if lost:
        raise UserError(
            f"{lost} logits and features of a pass are beyond {dtype}, which reaches "
            f"{float(jnp.finfo(dtype).max):.0e}: use --pass-dtype bfloat16"
        )
    return [(logits, features) for logits, features, _ in parts]


def _by_device(rows: Int[np.ndarray, "n"], devices: int, size: int) -> Int[np.ndarray, "m"]:
    """The order in which calls of `size` rows a device take them, each device its own stretch."""
    share = -(-len(rows) // devices)
    stretches = rows[np.arange(devices * share).reshape(devices, share) % len(rows)]
    whole = np.stack([_whole_batches(stretch, size) for stretch in stretches])
    return whole.reshape(devices, -1, size).swapaxes(0, 1).reshape(-1)


def _joined(parts: tuple[Array, ...], n: int, place: Placement) -> Array:
    """The n rows that the calls of a pass gave, in their own order, whole on every device."""
    if place.mesh is None:
        return jnp.concatenate(parts)[:n]
    return _gathered(place)(parts, place.devices, n)


@functools.lru_cache(maxsize=8)
def _gathered(place: Placement) -> Callable[..., Array]:
    @functools.partial(jax.jit, static_argnums=(1, 2), **place.outputs)
    def join(parts, devices: int, n: int):
        by_device = [x.reshape(devices, -1, x.shape[1]) for x in parts]
        whole = jnp.concatenate(by_device, axis=1)[:, : -(-n // devices)]
        return whole.reshape(-1, whole.shape[2])[:n]

    return join


@functools.partial(jax.jit, static_argnums=2)
def _batches_of(pool: Shaped[Array, "p ..."], rows: Int[Array, "m"] | None, batch_size: int):
    """Rows of a pool as (s, b, ...)."""
    raw = pool if rows is None else pool[rows]
    return raw.reshape(-1, batch_size, *pool.shape[1:])


def collect_gradient_norms(
    steps: Steps,
    variables: Variables,
    feed: Feed,
    *,
    rows: Int[np.ndarray, "n"] | None = None,
    memory: int = 2**28,
) -> Float[Array, "n"]:
    """‖dl_i/dtheta‖ over all parameters of examples in order (GraNd's score).

    Args:
        steps: of the network.
        variables: its parameters and statistics.
        feed: the split.
        rows: of the split; None for all of them.
        memory: bytes that the gradients of a batch may take.
    """
    rows = np.arange(len(feed), dtype=np.int32) if rows is None else rows
    n, size = len(rows), 4 * sum(x.size for x in jax.tree.leaves(variables.params))
    batch_size = max(1, min(n, 50, memory // size))
    order = _whole_batches(rows, batch_size)
    norms = [
        steps.gradient_norms(
            variables, batch.pool, feed.place.split(feed.host_labels[part]), batch.rows
        )
        for part, batch in zip(
            order.reshape(-1, batch_size), feed.batches(order, batch_size), strict=True
        )
    ]
    return jnp.asarray(np.concatenate([np.asarray(x) for x in norms])[:n])


def _whole_batches(rows: Int[np.ndarray, "n"], batch_size: int) -> Int[np.ndarray, "m"]:
    """`rows` in whole batches, so that one shape is compiled: the last wraps to the first rows."""
    return rows[np.arange(-(-len(rows) // batch_size) * batch_size) % len(rows)]
