"""What a strategy is: pure functions that carry a state and answer with a `Selection`."""

from typing import Literal, NamedTuple

from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.strategies.interfaces import Init, Observe, Record, RowsOf, Select, State
from gradmatch_jax.strategies.regime import Weighting
from gradmatch_jax.strategies.task import Pass, Recorded, Rows, Seen, Snapshot, Task

__all__ = [
    "Need", "Pass", "Recorded", "Rows", "Seen", "Snapshot", "State", "Strategy", "Task",
    "record_nothing", "scaled", "stateless",
]  # fmt: skip

# What a selection reads: a pass over the training set, a pass over the validation set, and the
# norms of the training examples' gradients in all parameters.
Need = Literal["train", "validation", "gradient_norms"]


def record_nothing(
    logits: Float[Array, "b C"], features: Float[Array, "b E"], labels: Int[Array, "b"]
) -> Recorded:
    """Remember nothing of a mini-batch."""
    del logits, features, labels
    return {}


def _ignore(state: State, seen: Seen) -> State:
    del seen
    return state


def _everything(state: State, key: PRNGKeyArray) -> Rows | None:
    del state, key
    return None


class Strategy(NamedTuple):
    """A way to choose the subset: `init` a state, `select` from it, `observe` training.

    init: key -> state.
    select: (state, snapshot, key) -> (selection, state). Pure: the same arguments give the same
      answer.
    needs: what `snapshot` must hold.
    record: (logits, features, labels) -> arrays of b rows, a dictionary by name: what to remember
      of each example of a mini-batch, in training mode, before its step. It runs inside the jitted
      step. A function of the module, not made anew: each new one compiles.
    observe: (state, seen) -> state, after every epoch, with what `record` gave.
    weighting: how SGD scales the weights. "selection" brings them to mean 1 once a selection.
      "batch" does so in each mini-batch, where a few weights hold nearly all of the sum and one
      step would be many times as long as the rest (CRAIG's cluster sizes). "none" leaves them,
      where they carry the scale of the gradient (InfoBatch).
    rows: (state, key) -> the rows that the next selection looks at, None for all of them.
    ordered: an epoch trains on the selection in its order, from the first mini-batch to the last;
      otherwise they are drawn from it.
    repeats: an example may be selected more than once.
    signed: weights may be negative.
    """

    init: Init
    select: Select
    needs: tuple[Need, ...] = ()
    record: Record = record_nothing
    observe: Observe = _ignore
    weighting: Weighting = "selection"
    rows: RowsOf = _everything
    ordered: bool = False
    repeats: bool = False
    signed: bool = False


def scaled(strategy: Strategy, weighting: Weighting | Literal["own"]) -> Strategy:
    """The strategy with its weights scaled otherwise in SGD; "own" leaves it as it is.

    >>> scaled(Strategy(stateless, None), "batch").weighting
    'batch'
    """
    return strategy if weighting == "own" else strategy._replace(weighting=weighting)


def stateless(key: PRNGKeyArray | None) -> State:
    """The state of a strategy that carries nothing on: a strategy's `init`.

    Args:
        key: not used.

    Returns:
        An empty state.

    Example:
        >>> stateless(None)
        {}
    """
    del key
    return {}
