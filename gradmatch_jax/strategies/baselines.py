"""Full training and the random baselines."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from gradmatch_jax.selection.ranking import draw
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.strategies.strategy import Strategy, Task, stateless

# A shuffled order of all n, "order", and how many of it were dealt, "place".
Dealt = dict[str, Int[Array, "..."]]


def full(task: Task) -> Strategy:
    """All examples with weight 1."""
    n = len(task.labels)

    def select(state, snapshot, key):
        del snapshot, key
        return unweighted(jnp.arange(n, dtype=jnp.int32)), state

    return Strategy(stateless, select)


def random(task: Task) -> Strategy:
    """One uniform draw without replacement, kept for the whole run (the paper's RANDOM)."""
    n = len(task.labels)

    def select(state, snapshot, key):
        del snapshot
        return unweighted(draw(key, n, task.budget)), state

    return Strategy(stateless, select)


def adaptive_random(task: Task) -> Strategy:
    """A fresh subset every epoch, without replacement until the data is used up.

    The state is a shuffled order and a place in it. A draw that reaches the end goes on in a new
    shuffle, in which what it already holds comes last, so that no subset has an example twice.
    """
    n = len(task.labels)

    def init(key):
        order = jax.random.permutation(key, n).astype(jnp.int32)
        return {"order": order, "place": jnp.zeros((), jnp.int32)}

    def select(state, snapshot, key):
        del snapshot
        taken, state = _deal(state, key, task.budget)
        return unweighted(taken), state

    return Strategy(init, select)


@functools.partial(jax.jit, static_argnames="k")
def _deal(state: Dealt, key: PRNGKeyArray, k: int) -> tuple[Int[Array, "k"], Dealt]:
    """The next k of the order, and what is left of it."""
    order, place = state["order"], state["place"]
    n, slots = len(order), jnp.arange(k, dtype=jnp.int32)
    left, ahead = n - place, order[(place + slots) % n]

    def go_on():
        return ahead, order, place + k

    def shuffle():
        fresh = jax.random.permutation(key, n).astype(jnp.int32)
        rank = jnp.zeros(n, jnp.int32).at[order].set(jnp.arange(n, dtype=jnp.int32))
        held_last = jnp.argsort(rank[fresh] >= place, stable=True)
        fresh = fresh[held_last]
        return jnp.where(slots < left, ahead, fresh[(slots - left) % n]), fresh, k - left

    # Two sorts of n, only where they are wanted: 20 ms an epoch of MNIST.
    taken, order, place = jax.lax.cond(left < k, shuffle, go_on)
    return taken, {"order": order, "place": place}
