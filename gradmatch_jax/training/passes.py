"""Host loops over the data: an epoch of weighted SGD, and passes that collect what it gives."""

from collections.abc import Callable
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.inputs.arrays import AnyArray
from gradmatch_jax.models.model import Variables
from gradmatch_jax.strategies.strategy import Seen
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.left import Begun, Paused
from gradmatch_jax.training.outputs import (
    batches_of,
    by_device,
    joined,
    narrowed,
    whole_batches,
    within_reach,
)
from gradmatch_jax.training.schedule import UNWEIGHTED, Batching
from gradmatch_jax.training.steps import Learner, Outcome, Steps

# Steps in one call on an accelerator: enough to hide their launch, and a fixed number, so that
# epochs of different sizes share a compilation.
SCAN = 64

# Forward batches in one call on a CPU: enough to hide a call's cost (a LeNet pass takes 1.25 times
# as long batch by batch), few enough that a stream reads ahead in tens of megabytes.
IN_A_CALL = 8


def _never(steps: int) -> bool:
    del steps
    return False


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
    begun: Begun | None = None,
    pause: Callable[[int], bool] = _never,
) -> tuple[Learner, float, Seen]:
    """One epoch of SGD over `indices`, in a fresh order or theirs: learner, mean loss, what it saw.

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
        batching: weights at "batch" are brought to mean 1 in each mini-batch, where what its
          members share cancels. `whole` leaves out a ragged last batch, which would compile once a
          size where epochs differ in size; what is left out is as random as the order. `ordered`
          takes them as they stand.
        begun: the first steps, where they were made already and `learner` is the one after them.
        pause: asked between calls, with the steps that are made, whether to leave the epoch there.

    Returns:
        The learner after it; the mean of w_i l_i over its examples; what it saw of them. The same
        to the bit however often it was left and gone on with.

    Raises:
        Paused: `pause` said so; it has the learner and the steps so far.
    """
    indices, weights, step_key = _in_order(key, indices, weights, batch_size, batching)
    outcomes: list[Outcome] = []
    split, whole = feed.place.split, len(indices) // batch_size
    scan = jax.default_backend() != "cpu" and feed.resident if scan is None else scan
    chunk, step = min(SCAN, whole) if scan else 0, 0 if begun is None else begun.steps

    def leave_if_asked() -> None:
        if step * batch_size < len(indices) and pause(step):
            raise Paused(learner, _so_far(begun, outcomes, step))

    while chunk and step + chunk <= whole:
        pool = next(feed.batches(indices[:1], 1)).pool
        part = slice(step * batch_size, (step + chunk) * batch_size)
        rows, each = (x[part].reshape(chunk, batch_size) for x in (indices, weights))
        learner, outcome = steps.train_scan(
            learner, pool, feed.labels, split(rows, 1), split(each, 1), lr, step_key, step
        )
        outcomes.append(outcome)
        step += chunk
        leave_if_asked()
    labels = feed.host_labels[indices]
    with closing(feed.batches(indices[step * batch_size :], batch_size)) as batches:
        for batch in batches:
            part = slice(step * batch_size, (step + 1) * batch_size)
            label, weight = split(labels[part]), split(weights[part])
            learner, outcome = steps.train(
                learner, batch.pool, label, batch.rows, weight, lr, step_key, step
            )
            outcomes.append(outcome)
            step += 1
            leave_if_asked()
    made = _so_far(begun, outcomes, step)
    return learner, mean_loss(made, len(indices), batch_size), Seen(indices, made.recorded)


def _in_order(key: PRNGKeyArray, indices, weights, batch_size: int, batching: Batching):
    """The epoch's rows and weights in its order, and the key of its steps."""
    order_key, step_key = jax.random.split(key)
    order = np.arange(len(indices))
    if not batching.ordered:  # on the host: jax.random.permutation compiles anew for every size
        order = np.random.default_rng(np.asarray(jax.random.key_data(order_key))).permutation(order)
    if batching.whole and len(indices) > batch_size:
        order = order[: len(indices) // batch_size * batch_size]
    indices, weights = indices[order].astype(np.int32), weights[order].astype(np.float32)
    if batching.weights == "batch":
        weights = relative(weights, batch_size)
    return indices, weights, step_key


def _so_far(begun: Begun | None, outcomes: list[Outcome], steps: int) -> Begun:
    """What was begun and what came after it, on the host."""
    losses = [np.ravel(outcome.loss) for outcome in outcomes]
    recorded = [_rows(outcome) for outcome in outcomes]
    if begun is not None:
        losses, recorded = [begun.losses, *losses], [begun.recorded, *recorded]
    names = recorded[0] if recorded else ()
    return Begun(
        steps,
        np.concatenate(losses) if losses else np.zeros(0, np.float32),
        {name: np.concatenate([part[name] for part in recorded]) for name in names},
    )


def _rows(outcome: Outcome) -> dict[str, np.ndarray]:
    """What a call recorded, one row an example, in the order they were taken."""
    values = {name: np.asarray(x) for name, x in outcome.recorded.items()}
    if np.ndim(outcome.loss) == 0:
        return values
    return {name: x.reshape(-1, *x.shape[2:]) for name, x in values.items()}  # (steps, b, ...)


def mean_loss(begun: Begun, examples: int, batch_size: int) -> float:
    """The mean over the examples of an epoch, from the means over its mini-batches so far."""
    if begun.steps == 0:
        return 0.0
    sizes = np.minimum(batch_size, examples - batch_size * np.arange(begun.steps))
    return float(np.average(begun.losses.astype(np.float64), weights=sizes))


def relative(weights: Float[np.ndarray, "k"], batch_size: int) -> Float[np.ndarray, "k"]:
    """Weights of mean 1 in each batch; a batch of zeros stays one."""
    starts = np.arange(0, len(weights), batch_size)
    sums = np.repeat(np.add.reduceat(weights, starts), batch_size)[: len(weights)]
    sizes = np.repeat(np.diff(np.append(starts, len(weights))), batch_size)[: len(weights)]
    return (weights * sizes / np.where(sums > 0, sums, 1.0)).astype(np.float32)


def evaluate(steps: Steps, variables: Variables, feed: Feed) -> float:
    """Top-1 accuracy in percent; on several devices each counts the rows that it passed."""
    logits, _ = collect(steps, variables, feed, split=True)
    return accuracy(logits, feed.host_labels)


def accuracy(logits: Float[Array, "n C"], labels: Int[AnyArray, "n"]) -> float:
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
    split: bool = False,
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
        split: on several devices, leave the rows with those that passed them.
        dtype: what to keep them in, "bfloat16" or "float16"; None is as the network gives them.

    Returns:
        Both on the device, a row an example; on several devices, each of which passes its stretch
        of the rows, whole on every one unless `split`.

    Raises:
        UserError: numbers that `dtype` does not reach.
    """
    rows = np.arange(len(feed), dtype=np.int32) if rows is None else rows
    n, on_cpu, devices = len(rows), jax.default_backend() == "cpu", feed.place.devices
    share = -(-n // devices)  # of a device
    batch_size = min(batch_size or (50 if on_cpu else 1000), share)
    at_once = IN_A_CALL if on_cpu else 1
    order = by_device(rows, devices, batch_size * at_once)
    parts = []
    with closing(feed.batches(order, devices * batch_size * at_once)) as batches:
        for batch in batches:
            left = -(-share // batch_size) - len(parts) * at_once
            raw = batches_of(batch.pool, batch.rows, batch_size)
            made = steps.predict(variables, raw, min(left, at_once))
            parts.append(made if dtype is None else narrowed(made, dtype))
    if dtype is not None:
        parts = within_reach(parts, dtype)
    logits, features = zip(*parts, strict=True)
    kept = (joined(x, n, feed.place, split=split) for x in (logits, features))
    return next(kept), next(kept)


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
    order = whole_batches(rows, batch_size)
    with closing(feed.batches(order, batch_size)) as batches:
        norms = [
            steps.gradient_norms(
                variables, batch.pool, feed.place.split(feed.host_labels[part]), batch.rows
            )
            for part, batch in zip(order.reshape(-1, batch_size), batches, strict=True)
        ]
    return jnp.asarray(np.concatenate([np.asarray(x) for x in norms])[:n])
