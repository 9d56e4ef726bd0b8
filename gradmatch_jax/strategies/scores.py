"""Scores of the training examples by a network that has trained on them: the highest are chosen.

The driver trains a network on all the data, hands each epoch to `observe` and calls `select` at the
end. With several networks, one after the other, it does so for each and takes the last answer: the
state carries the sum of the scores over the `select` calls so far, which orders the examples as
their mean over the networks does. The top k are taken over the whole data set and not per class,
with weight 1, as in the papers; ties are broken at random.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import widened
from gradmatch_jax.selection.ranking import rank_by_score
from gradmatch_jax.selection.result import Selection, unweighted
from gradmatch_jax.strategies.records import correctness
from gradmatch_jax.strategies.strategy import Need, Seen, Snapshot, Strategy, Task


def highest(scores: Float[Array, "n"], budget: int, key: PRNGKeyArray) -> Selection:
    """The `budget` examples of the highest scores, weight 1; ties in an order drawn by `key`."""
    return unweighted(_best(scores, budget, key))


def _best(scores: Float[Array, "n"], budget: int, key: PRNGKeyArray) -> Int[Array, "budget"]:
    n = scores.shape[0]
    order = jax.random.permutation(key, n).astype(jnp.int32)
    best = rank_by_score(scores[order][None], jnp.ones((1, n), bool), budget)[0]
    return jnp.where(best >= 0, order[best], -1)


def entropy(task: Task) -> Strategy:
    """The least certain: H_i = -sum_c p_ic log p_ic, p_i = softmax(z_i).

    Settles 2012, "Active Learning"; as the proxy's uncertainty in Coleman et al. 2020, "Selection
    via Proxy". In nats.
    """

    def score(snapshot: Snapshot):
        assert snapshot.train is not None
        log_p = jax.nn.log_softmax(widened(snapshot.train.logits))
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=1)

    return _scored(task, ("train",), score)


def el2n(task: Task) -> Strategy:
    """The largest errors: ‖softmax(z_i) - onehot(y_i)‖, in expectation over initialisations.

    Paul, Ganguli and Dziugaite 2021, "Deep Learning on a Data Diet", section 2.
    """

    def score(snapshot: Snapshot):
        assert snapshot.train is not None
        return jnp.linalg.norm(widened(snapshot.train.gradients.residuals), axis=1)

    return _scored(task, ("train",), score)


def grand(task: Task) -> Strategy:
    """The largest gradients: ‖dl_i/dtheta‖ over all parameters, in expectation as EL2N.

    Paul, Ganguli and Dziugaite 2021, section 2.
    """

    def score(snapshot: Snapshot):
        assert snapshot.gradient_norms is not None
        return snapshot.gradient_norms

    return _scored(task, ("gradient_norms",), score)


def _scored(
    task: Task, needs: tuple[Need, ...], score: Callable[[Snapshot], Float[Array, "n"]]
) -> Strategy:
    """The highest sum, over the `select` calls so far, of a score of the network alone."""
    n, k = len(task.labels), task.budget

    def init(key):
        del key
        return {"total": jnp.zeros(n)}

    @jax.jit
    def add(state, snapshot, key):
        total = state["total"] + score(snapshot).astype(state["total"].dtype)
        return _best(total, k, key), {"total": total}

    def select(state, snapshot, key):
        chosen, state = add(state, snapshot, key)
        _check_finite(state["total"])
        return unweighted(chosen), state

    return Strategy(init, select, needs=needs)


def _check_finite(scores: Array) -> None:
    if isinstance(scores, Tracer):
        return
    bad = int(jnp.sum(~jnp.isfinite(scores)))  # several processes have parts of them
    if bad:
        raise UserError(
            f"the scores of {bad} of {len(scores)} examples are nan or inf; did the "
            "network that scores diverge? Lower the learning rate"
        )


def forgetting(task: Task) -> Strategy:
    """The most often forgotten: right at one presentation, wrong at the next.

    Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network
    Learning", definitions in section 3. An example never learnt counts as forgotten infinitely
    often. Infinity cannot be averaged over networks: one network that never learnt an example would
    settle its rank, and all such examples would tie. So it counts as many events as the network's
    training had epochs, as in the authors' code: with one network more than any count, for there
    are at most half as many events.

    Each `observe` is an epoch in which an example stands at most once; examples that an epoch
    leaves out keep their last presentation. `select` closes a network's count.
    """
    n, k = len(task.labels), task.budget

    def network():
        """Of the network in training."""
        return {
            "events": jnp.zeros(n, jnp.int32),
            "was_correct": jnp.zeros(n, bool),
            "ever_correct": jnp.zeros(n, bool),
            "epochs": jnp.zeros((), jnp.int32),
        }

    def init(key):
        del key
        return {"total": jnp.zeros(n), **network()}

    @jax.jit
    def present(state, seen, correct):
        was = state["was_correct"]
        return {
            "total": state["total"],
            "events": state["events"] + (seen & was & ~correct).astype(jnp.int32),
            "was_correct": jnp.where(seen, correct, was),
            "ever_correct": state["ever_correct"] | (seen & correct),
            "epochs": state["epochs"] + 1,
        }

    def observe(state, epoch: Seen):
        seen, correct = np.zeros(n, bool), np.zeros(n, bool)
        seen[epoch.indices] = True
        correct[epoch.indices] = epoch.recorded["correct"]
        return present(state, seen, correct)

    @jax.jit
    def close(state, key):
        counts = jnp.where(state["ever_correct"], state["events"], state["epochs"])
        total = state["total"] + counts.astype(state["total"].dtype)
        return _best(total, k, key), {"total": total, **network()}

    def select(state, snapshot, key):
        del snapshot
        chosen, state = close(state, key)
        return unweighted(chosen), state

    return Strategy(init, select, record=correctness, observe=observe)
