"""A pool: the pass and the problem look at a fresh random share of the data.

A forward pass over everything costs about a third of an epoch of training, however small the subset
that is chosen. A selection from a pool, a few times the budget, costs that much less. The pool is
stratified: each class keeps its share, so the classes' counts, and with them every shape and budget
of the inner problem, are the same at each selection, and nothing compiles again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from gradmatch_jax.selection.groups import largest_remainder
from gradmatch_jax.strategies.registry import Entry, build_strategy, find_entry
from gradmatch_jax.strategies.strategy import Rows, Snapshot, Strategy, Task

LEAST = 2  # budgets: with fewer candidates a selection has little to choose from


def pooled(build: Callable[[Task], Strategy], task: Task, share: float, *, keep: bool) -> Strategy:
    """The strategy that `build` makes, on a stratified random pool of the data.

    Its pool has round(share n) examples, but at least twice the budget where there are as many; the
    validation set, where the strategy reads it, is cut to the same share. Rows are in order of
    class.

    Args:
        build: makes the inner strategy of the pool's task.
        task: the whole data set's.
        share: of the data, above 0; 1 is everything, in the data's own order.
        keep: one pool for the whole run, where scores of several networks are added up.

    Returns:
        A strategy whose selections name rows of the whole data set.
    """
    if share >= 1:
        return build(task)
    n = len(task.labels)
    size = min(n, max(round(share * n), LEAST * task.budget))
    train = _strata(task.labels, task.num_classes, size)
    labels, validation = task.validation_labels, None
    if labels is not None:
        held = max(round(share * len(labels)), min(len(labels), task.num_classes))
        validation = _strata(labels, task.num_classes, held)
    inner = build(
        task._replace(
            labels=_sorted_labels(train),
            validation_labels=None if validation is None else _sorted_labels(validation),
        )
    )

    def rows(state, key: PRNGKeyArray) -> Rows:
        if keep:
            return Rows(np.asarray(state["train"]), np.asarray(state["validation"]))
        return _draw(key)

    def _draw(key: PRNGKeyArray) -> Rows:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        held = None if validation is None else _sample(rng, *validation)
        return Rows(_sample(rng, *train), held)

    def init(key: PRNGKeyArray):
        state = {"inner": inner.init(key)}
        if keep:
            drawn = _draw(jax.random.fold_in(key, 1))
            held = np.zeros(0, np.int32) if drawn.validation is None else drawn.validation
            state |= {"train": jnp.asarray(drawn.train), "validation": jnp.asarray(held)}
        return state

    def select(state, snapshot: Snapshot, key: PRNGKeyArray):
        assert snapshot.rows is not None
        selection, after = inner.select(state["inner"], snapshot, key)
        real = selection.indices >= 0
        named = jnp.asarray(snapshot.rows.train)[jnp.maximum(selection.indices, 0)]
        indices = jnp.where(real, named, -1)
        return selection._replace(indices=indices), {**state, "inner": after}

    return inner._replace(init=init, select=select, rows=rows)


def build_pooled(
    strategy: str | Entry, task: Task, settings: Mapping[str, Any], share: float
) -> Strategy:
    """The strategy of a registry line on a pool; scores of several networks are of one pool."""
    entry = strategy if isinstance(strategy, Entry) else find_entry(strategy)

    def build(task: Task) -> Strategy:
        return build_strategy(entry, task, settings)

    return pooled(build, task, share, keep=entry.reselect == "once")


# Each class's rows, and how many of them the pool has.
Strata = tuple[list[Int[np.ndarray, "_"]], Int[np.ndarray, "classes"]]


def _strata(labels: Int[np.ndarray, "n"], num_classes: int, size: int) -> Strata:
    """Each class's rows, and how many of them a pool of `size` has."""
    labels = np.asarray(labels)
    members = [np.flatnonzero(labels == label) for label in range(num_classes)]
    return members, largest_remainder(np.array([len(m) for m in members]), size)


def _sorted_labels(strata: Strata) -> Int[np.ndarray, "p"]:
    return np.repeat(np.arange(len(strata[1]), dtype=np.int32), strata[1])


def _sample(
    rng: np.random.Generator, members: list[Int[np.ndarray, "_"]], counts: Int[np.ndarray, "c"]
) -> Int[np.ndarray, "p"]:
    """Rows of a fresh pool, class by class."""
    drawn = [rng.choice(m, k, replace=False) for m, k in zip(members, counts, strict=True)]
    return np.concatenate([np.sort(part) for part in drawn]).astype(np.int32)
