"""Host loops over the data: an epoch of weighted SGD, and passes that collect what it gives."""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gradmatch_jax.inputs.arrays import AnyArray
from gradmatch_jax.models.model import Variables
from gradmatch_jax.strategies.strategy import Seen
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.left import Begun, Paused
from gradmatch_jax.training.order import in_order
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

# Steps in one call: enough to hide their launch, and a fixed number, so that epochs of different
# sizes share a compilation.
SCAN = 64

# Parameters times examples of a step of dense layers on a CPU that is made in such a call: digits'
# step takes 0.19 ms alone and 0.04 ms there. One of this size gains little, and 64 take a second.
SMALL = 2**25

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
    between: int = 0,
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
        scan: whether steps run up to SCAN at a time in one call, which hides their launch. None: as
          `scans` says.
        batching: weights at "batch" are brought to mean 1 in each mini-batch, where what its
          members share cancels. `whole` leaves out a ragged last batch, which would compile once a
          size where epochs differ in size; what is left out is as random as the order. `ordered`
          takes them as they stand.
        begun: the first steps, where they were made already and `learner` is the one after them.
        pause: asked between calls, with the steps that are made, whether to leave the epoch there.
        between: the most steps, on a CPU, before it is asked again; 0 is as many as a call has.

    Returns:
        The learner after it; the mean of w_i l_i over its examples; what it saw of them. The same
        to the bit however often it was left and gone on with.

    Raises:
        Paused: `pause` said so; it has the learner and the steps so far.
    """
    indices, weights, step_key = in_order(key, indices, weights, batch_size, batching)
    calls: list[_Call] = []
    split, whole = feed.place.split, len(indices) // batch_size
    scan = scans(learner, feed, batch_size) if scan is None else scan
    step = 0 if begun is None else begun.steps

    def leave_if_asked() -> None:
        if step * batch_size < len(indices) and pause(step):
            raise Paused(learner, _so_far(begun, calls, step))

    while scan and (count := _in_a_call(whole - step, whole, between)):
        pool = next(feed.batches(indices[:1], 1)).pool
        part = slice(step * batch_size, (step + count) * batch_size)
        rows, each = (_by_step(x[part], count, batch_size) for x in (indices, weights))
        learner, outcome = steps.train_many(
            learner, pool, feed.labels, split(rows, 1), split(each, 1), lr, step_key, step,
            count if _on_cpu() else None,
        )  # fmt: skip
        calls.append(_Call(outcome, count))
        step += count
        leave_if_asked()
    labels = feed.host_labels[indices]
    with closing(feed.batches(indices[step * batch_size :], batch_size)) as batches:
        for batch in batches:
            part = slice(step * batch_size, (step + 1) * batch_size)
            label, weight = split(labels[part]), split(weights[part])
            learner, outcome = steps.train(
                learner, batch.pool, label, batch.rows, weight, lr, step_key, step
            )
            calls.append(_Call(outcome, None))
            step += 1
            leave_if_asked()
    made = _so_far(begun, calls, step)
    return learner, mean_loss(made, len(indices), batch_size), Seen(indices, made.recorded)


def scans(learner: Learner, feed: Feed, batch_size: int) -> bool:
    """Whether several steps in one call are quicker, for inputs in memory.

    On an accelerator they are. On a CPU a loop of convolutions, whose kernels have more than two
    axes, is several times slower than Python's (XLA), and a step that takes long gains nothing.
    """
    if not feed.resident or not _on_cpu():
        return feed.resident
    params = jax.tree.leaves(learner.variables.params)
    dense = all(x.ndim <= 2 for x in params)
    return dense and batch_size * sum(x.size for x in params) <= SMALL


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _in_a_call(left: int, whole: int, between: int) -> int:
    """How many of the `left` steps of whole batches the next call makes.

    On an accelerator XLA is to know how many: what is left over is made step by step.
    """
    if _on_cpu():
        return min(left, SCAN, between or SCAN)
    chunk = min(SCAN, whole)
    return chunk if left >= chunk else 0


def _by_step(x: Shaped[np.ndarray, "m"], count: int, size: int) -> Shaped[np.ndarray, "steps b"]:
    """A row a step; on a CPU always as many, 0 behind."""
    made = np.zeros((SCAN if _on_cpu() else count, size), x.dtype)
    made[:count] = x.reshape(count, size)
    return made


class _Call(NamedTuple):
    """What a call gave."""

    outcome: Outcome
    steps: int | None  # the first so many of it; None: of a single step, without their axis

    @property
    def losses(self) -> np.ndarray:
        return np.atleast_1d(np.asarray(self.outcome.loss))[: self.steps]

    @property
    def recorded(self) -> dict[str, np.ndarray]:
        """One row an example, in the order they were taken."""
        values = {name: np.asarray(x) for name, x in self.outcome.recorded.items()}
        if self.steps is None:
            return values
        return {name: x[: self.steps].reshape(-1, *x.shape[2:]) for name, x in values.items()}


def _so_far(begun: Begun | None, calls: list[_Call], steps: int) -> Begun:
    """What was begun and what came after it, on the host."""
    losses, recorded = [call.losses for call in calls], [call.recorded for call in calls]
    if begun is not None:
        losses, recorded = [begun.losses, *losses], [begun.recorded, *recorded]
    names = recorded[0] if recorded else ()
    return Begun(
        steps,
        np.concatenate(losses) if losses else np.zeros(0, np.float32),
        {name: np.concatenate([part[name] for part in recorded]) for name in names},
    )


def mean_loss(begun: Begun, examples: int, batch_size: int) -> float:
    """The mean over the examples of an epoch, from the means over its mini-batches so far."""
    if begun.steps == 0:
        return 0.0
    sizes = np.minimum(batch_size, examples - batch_size * np.arange(begun.steps))
    return float(np.average(begun.losses.astype(np.float64), weights=sizes))


def evaluate(steps: Steps, variables: Variables, feed: Feed) -> float:
    """Top-1 accuracy in percent; on several devices each counts the rows that it passed."""
    logits, _ = collect(steps, variables, feed, split=True)
    return accuracy(logits, feed.host_labels)


def accuracy(logits: Float[Array, "n C"], labels: Int[AnyArray, "n"]) -> float:
    """Top-1 accuracy in percent of a pass that was made anyway: a selection's, say."""
    return 100.0 * int(_hits(logits, labels)) / len(labels)


@jax.jit
def _hits(logits: Float[Array, "n C"], labels: Int[AnyArray, "n"]) -> Int[Array, ""]:
    return jnp.sum(jnp.argmax(logits, axis=1) == labels)


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
    return joined(parts, n, feed.place, split=split)


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
