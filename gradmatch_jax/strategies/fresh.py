"""A fresh subset every epoch, drawn by what training last saw of each example.

What is remembered, a loss or a residual norm, comes from the training step itself: no pass over the
data, no problem to solve. Scores of importance sampling (Katharopoulos & Fleuret 2018), at a fixed
budget; OrderDP is "Order-based data pruning", ICLR 2026.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, PRNGKeyArray

from gradmatch_jax.selection.result import Selection, unweighted
from gradmatch_jax.strategies.records import cross_entropies, residual_norms
from gradmatch_jax.strategies.strategy import Seen, Strategy, Task

# A probability above this is taken for certain: below it, the sums of all the others cannot round
# to a draw of one example twice.
_CERTAIN = 1 - 1e-9


def tempered(
    task: Task,
    *,
    temperature: float = 1.0,
    exponent: float = 0.5,
    floor: float = 0.02,
    uniform: float = 0.0,
    ageing: float = 0.0,
    stratified: bool = False,
    fitted: bool = False,
) -> Strategy:
    """Draw k examples with probability pi_i ~ s_i^temperature, weigh them by pi_i^-exponent.

    s_i is the residual norm ‖softmax(z_i) - onehot(y_i)‖ when example i was last trained on, at
    least `floor`, and 1 before: the unseen come first. pi sums to k and is at most 1. An exponent
    of 1 makes sum_i w_i g_i unbiased, 0 is the harder distribution itself.

    Args:
        task: the problem's size and labels.
        temperature: 0 is a uniform draw.
        exponent: of the weights.
        floor: of the norms, so that what is learnt comes back.
        uniform: this share of the draws does not look at the norms.
        ageing: how far an epoch moves the norms of those it left out towards the mean of all.
        stratified: each class has the share of the draws that it has of the data.
        fitted: the temperature is times `fit`, of the scores that are known: the draw is uniform
            until training fits what it sees, and stays so where it never does. There the largest
            residuals are of what cannot be learnt.
    """
    n, k = len(task.labels), task.budget
    strata = np.asarray(task.labels) if stratified else None

    def select(state, snapshot, key):
        del snapshot
        known = np.maximum(known_or(state["scores"], 1.0), floor)
        scores = known ** (temperature * fit(state["scores"]) if fitted else temperature)
        if strata is None:
            pi = inclusion(scores, k)
        else:
            pi = np.zeros(n)
            for c, size in zip(*np.unique(strata, return_counts=True), strict=True):
                pi[strata == c] = inclusion(scores[strata == c], k * size / n)
        pi = (1 - uniform) * pi + uniform * k / n
        chosen = systematic(pi, k, key, strata)
        weights = (k / n / pi[chosen]) ** exponent
        return weighted(chosen, weights), state

    return Strategy(
        unseen(n), select, record=residual_norms, observe=remember("residual_norms", ageing)
    )


def order_dp(task: Task, *, spread: float = 2.0) -> Strategy:
    """Of a uniform draw of spread * k examples, the k of largest last-seen loss, unweighted.

    Args:
        task: the problem's size and labels.
        spread: the draw's size over k; all of the data at most. 1 is a uniform draw.
    """
    n, k = len(task.labels), task.budget
    size = min(n, max(k, round(spread * k)))

    def select(state, snapshot, key):
        del snapshot
        drawn = np.asarray(jax.random.permutation(key, n))[:size]
        losses = known_or(state["scores"], np.inf)[drawn]
        return unweighted(drawn[np.argsort(-losses, kind="stable")[:k]].astype(np.int32)), state

    return Strategy(unseen(n), select, record=cross_entropies, observe=remember("losses"))


def unseen(n: int) -> Callable[[PRNGKeyArray], dict[str, Float[jax.Array, "n"]]]:
    """The `init` of a strategy that remembers a score an example: infinite before the first."""

    def init(key):
        del key
        return {"scores": jnp.full(n, jnp.inf, jnp.float32)}

    return init


def fit(scores: Float32[jax.Array, "n"]) -> float:
    """max(0, 2 q - 1), q the share of the residual norms seen that are below 1/2.

    >>> fit(jnp.asarray([0.1, 0.1, 0.1, 0.9, jnp.inf]))
    0.5
    """
    seen = np.asarray(scores)[np.isfinite(scores)]
    return max(0.0, 2.0 * float(np.mean(seen < 0.5)) - 1.0) if len(seen) else 0.0


def known_or(scores: Float32[jax.Array, "n"], otherwise: float) -> Float[np.ndarray, "n"]:
    """The scores in double precision, `otherwise` where there is none yet."""
    found = np.asarray(scores, np.float64)
    return np.where(np.isfinite(found), found, otherwise)


def remember(name: str, ageing: float = 0.0) -> Callable[[dict, Seen], dict]:
    """The `observe` that keeps the last score of each example that an epoch saw.

    A score that is not finite, of a run about to diverge, leaves the example unseen.
    """

    def observe(state, epoch: Seen):
        scores = np.array(state["scores"])
        if ageing and np.any(known := np.isfinite(scores)):
            scores[known] += ageing * (scores[known].mean() - scores[known])
        scores[epoch.indices] = epoch.recorded[name]
        return {"scores": jnp.asarray(np.where(np.isfinite(scores), scores, np.inf))}

    return observe


def inclusion(scores: Float[np.ndarray, "n"], total: float) -> Float[np.ndarray, "n"]:
    """Inclusion probabilities proportional to positive scores, at most 1, that sum to `total`.

    pi_i = min(1, c s_i): with the scores in falling order, the m largest are certain for the least
    m that leaves the others below 1.

    Example:
        >>> inclusion(np.array([1.0, 1.0, 8.0]), 2).tolist()
        [0.5, 0.5, 1.0]
    """
    total = min(total, len(scores))
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    tails = np.cumsum(falling[::-1])[::-1]  # of the m-th score and those after it
    left = total - np.arange(len(scores))
    fits = (left * falling <= tails) | (left <= 0)
    m = int(np.argmax(fits)) if np.any(fits) else len(scores)
    pi = np.ones(len(scores))
    if m < len(scores):
        pi[order[m:]] = np.maximum(left[m], 0.0) * falling[m:] / tails[m]
    return np.minimum(pi, 1.0)


def systematic(
    pi: Float[np.ndarray, "n"],
    k: int,
    key: PRNGKeyArray,
    strata: Int[np.ndarray, "n"] | None = None,
) -> Int[np.ndarray, "k"]:
    """k distinct examples, i with probability pi_i exactly; pi sums to k.

    Systematic sampling: the probabilities are laid end to end in a shuffled order, and every unit
    of length from a random start meets one. With strata, in their order: each gets the sum of its
    probabilities, to within one.
    """
    shuffle, start = jax.random.split(key)
    order = np.asarray(jax.random.permutation(shuffle, len(pi)))
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    sure = pi >= _CERTAIN
    certain, rest = order[sure[order]], order[~sure[order]]
    left = k - len(certain)
    if left <= 0 or len(rest) == 0:
        return certain[:k].astype(np.int32)
    ends = np.cumsum(pi[rest])
    points = float(jax.random.uniform(start)) + np.arange(left)
    met = np.searchsorted(ends * (left / ends[-1]), points, side="right")
    return np.concatenate([certain, rest[np.minimum(met, len(rest) - 1)]]).astype(np.int32)


def weighted(indices: Int[np.ndarray, "k"], weights: Float[np.ndarray, "k"]) -> Selection:
    """A `Selection` of all of these."""
    return unweighted(jnp.asarray(indices))._replace(weights=jnp.asarray(weights, jnp.float32))
