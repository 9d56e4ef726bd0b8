"""A fresh subset every epoch whose gradient is nearly that of all the data.

`adaptive_random` cuts a shuffled order into epochs, and what an epoch leaves out is chance. Here
the same order is dealt: alike examples go to different epochs, each to the one whose sum of
gradients it corrects best. GraB (Lu et al. 2022) balances the prefixes of an order by signs, which
is the deal for two; this is the deal for as many epochs as the data last, and for the mini-batches
of each.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import linear_sum_assignment

from gradmatch_jax.gradients import last_layer_gradients
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.strategies.strategy import Recorded, Seen, Strategy, Task

# Numbers that an example's last-layer gradient, C (E + 1) of them, is remembered by.
WIDTH = 64
_PROJECTION = 0  # the seed of what makes them


class Parts(NamedTuple):
    """The epochs, or an epoch's mini-batches, that examples are dealt to."""

    sizes: Int[np.ndarray, "p"]
    sums: Float[np.ndarray, "p m"]  # of what is in them, about the mean


def balanced(
    task: Task, *, balance: Literal["epochs", "batches"] = "batches", batch_size: int = 20
) -> Strategy:
    """Adaptive-random's epochs, without replacement until the data is used up, dealt evenly.

    When an order is used up, the next is made: examples are sorted by class and by the norm of
    their last-seen residual, cut into tuples of one for each epoch to come, and each tuple is dealt
    by the assignment that brings the epochs' sums of last-layer gradients, about their mean,
    nearest to zero. What an example's gradient was is known from the training step, which keeps a
    random projection of it: inner products to 1 / sqrt(64) of the norms.

    An epoch's mini-batches are dealt in the same way when it begins, by what has been seen until
    then, and it trains in that order; with `balance="epochs"` they are drawn from it at random.

    Args:
        task: the problem's size and labels.
        balance: what is dealt: the epochs alone, or the mini-batches of each as well.
        batch_size: examples a mini-batch.
    """
    n, k, labels = len(task.labels), task.budget, np.asarray(task.labels)
    ordered = balance == "batches"

    def init(key):
        return {
            "order": jax.random.permutation(key, n).astype(jnp.int32),
            "place": jnp.zeros((), jnp.int32),
            "sketches": jnp.zeros((n, WIDTH), jnp.float32),
            "residual_norms": jnp.zeros(n, jnp.float32),
        }

    def alike(state, rows):
        """Rows by class and by norm of the residual; of equal ones as they stand."""
        return rows[np.lexsort((np.asarray(state["residual_norms"])[rows], labels[rows]))]

    def answer(state, rows):
        if ordered:
            rows = rows[in_batches(alike(state, rows), rows, state["sketches"], batch_size)]
        return unweighted(jnp.asarray(rows)), state

    def select(state, snapshot, key):
        del snapshot
        order, place = np.asarray(state["order"]), int(state["place"])
        held = order[place : place + k]
        if len(held) == k:
            return answer(state | {"place": jnp.int32(place + k)}, held)
        shuffled = np.asarray(jax.random.permutation(key, n))
        part = dealt(alike(state, shuffled), np.asarray(state["sketches"], np.float64), k, held)
        fresh = shuffled[np.argsort(part[shuffled], kind="stable")].astype(np.int32)
        first = k - len(held)
        taken = np.concatenate([held, fresh[:first]]).astype(np.int32)
        return answer(
            state | {"order": jnp.asarray(fresh), "place": jnp.int32(first)},
            taken,
        )

    return Strategy(init, select, record=sketched_gradients, observe=_remember, ordered=ordered)


def sketched_gradients(
    logits: Float[Array, "b C"], features: Float[Array, "b E"], labels: Int[Array, "b"]
) -> Recorded:
    """Each example's last-layer gradient delta ⊗ [1, h], projected, and the norm of its delta.

    The projection is a product of two, (R delta) * (H [1, h]) / sqrt(m) with signs R and H drawn
    once, so that inner products stay in expectation and the outer product is never made.
    """
    logits, features = jax.lax.stop_gradient((logits, features))
    residuals = last_layer_gradients(logits, features, labels).residuals
    ones = jnp.ones((len(features), 1), features.dtype)
    inputs = jnp.concatenate([ones, features], axis=1)
    of_residuals, of_inputs = jax.random.split(jax.random.key(_PROJECTION))
    signs = [
        jax.random.rademacher(key, (x.shape[1], WIDTH), jnp.int8).astype(x.dtype)
        for key, x in ((of_residuals, residuals), (of_inputs, inputs))
    ]
    product = (residuals @ signs[0]) * (inputs @ signs[1]).astype(residuals.dtype)
    return {
        "sketches": (product / WIDTH**0.5).astype(jnp.float32),
        "residual_norms": jnp.linalg.norm(residuals, axis=1).astype(jnp.float32),
    }


def _remember(state: dict, seen: Seen) -> dict:
    """What was last seen of each example; of one that is not finite, nothing."""
    kept = {}
    for name in ("sketches", "residual_norms"):
        held = np.array(state[name])
        held[seen.indices] = np.nan_to_num(seen.recorded[name], nan=0.0, posinf=0.0, neginf=0.0)
        kept[name] = jnp.asarray(held)
    return state | kept


def in_batches(
    alike: Int[np.ndarray, "k"],
    rows: Int[np.ndarray, "k"],
    sketches: Float[Array, "n m"],
    batch_size: int,
) -> Int[np.ndarray, "k"]:
    """An order of an epoch's rows whose mini-batches have nearly its mean gradient each.

    Args:
        alike: the same rows, like ones next to each other.
        rows: the epoch's.
        sketches: every example's gradient.
        batch_size: examples a mini-batch; the last one has what is left.

    Returns:
        Positions in `rows`.
    """
    by_row = np.argsort(rows)
    positions = by_row[np.searchsorted(rows, alike, sorter=by_row)]
    gradients = np.asarray(sketches, np.float64)[rows]
    part = dealt(positions, gradients, batch_size, np.zeros(0, np.int64))
    return np.argsort(part, kind="stable")


def dealt(
    alike: Int[np.ndarray, "n"],
    gradients: Float[np.ndarray, "n m"],
    k: int,
    held: Int[np.ndarray, "h"],
) -> Int[np.ndarray, "n"]:
    """The epoch of each example, so that each epoch has nearly the mean gradient.

    Args:
        alike: every example once, like ones next to each other.
        gradients: a row each; only inner products count.
        k: examples an epoch, 1 at least.
        held: fewer than k examples that the first epoch has already, which do not come again in it.

    Returns:
        0 for the k - h examples that complete the first epoch, then 1, .. for k each, and the last
        number for the rest.
    """
    n = len(alike)
    about = gradients - gradients.mean(axis=0)
    ends = np.append(np.arange(k - len(held), n, k), n)
    sizes = np.diff(ends, prepend=0)
    sums = np.zeros((len(sizes), about.shape[1]))
    sums[0] = about[held].sum(axis=0)
    parts, barred = Parts(sizes, sums), np.isin(np.arange(n), held)
    dealt_to = np.empty(n, np.int64)
    for tuple_, open_parts in _tuples(alike, sizes):
        dealt_to[tuple_] = _assigned(tuple_, open_parts, parts, about, barred)
    _free_first_part(dealt_to, barred)
    return dealt_to


def _tuples(alike: Int[np.ndarray, "n"], sizes: Int[np.ndarray, "p"]):
    """Examples next to each other, and the parts that get one each; each part in step with its
    size."""
    rounds = int(sizes.max())
    start = 0
    for i in range(rounds):
        open_parts = np.flatnonzero((i + 1) * sizes // rounds > i * sizes // rounds)
        yield alike[start : start + len(open_parts)], open_parts
        start += len(open_parts)


def _assigned(
    tuple_: Int[np.ndarray, "t"],
    open_parts: Int[np.ndarray, "t"],
    parts: Parts,
    about: Float[np.ndarray, "n m"],
    barred: np.ndarray,
) -> Int[np.ndarray, "t"]:
    """The part of each: the sum of ‖sum_p + g_i‖² is least where that of <sum_p, g_i> is."""
    cost = about[tuple_] @ parts.sums[open_parts].T
    if open_parts[0] == 0:
        cost[barred[tuple_], 0] += 1e3 * (1.0 + np.abs(cost).max())
    chosen = open_parts[linear_sum_assignment(cost)[1]]
    parts.sums[chosen] += about[tuple_]
    return chosen


def _free_first_part(dealt_to: Int[np.ndarray, "n"], barred: np.ndarray) -> None:
    """Where a whole tuple was barred, one of it is in the first part: change places."""
    wrong = np.flatnonzero(barred & (dealt_to == 0))
    others = np.flatnonzero(~barred & (dealt_to > 0))[: len(wrong)]
    dealt_to[wrong], dealt_to[others] = dealt_to[others], 0
