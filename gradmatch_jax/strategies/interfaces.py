"""The functions that a strategy is made of, as protocols: what each is given and answers."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.task import Recorded, Rows, Seen, Snapshot

State = Any  # a pytree of arrays, saved with the training state


@runtime_checkable
class Init(Protocol):
    """key -> the state it starts with."""

    def __call__(self, key: PRNGKeyArray, /) -> State:
        """A pytree of arrays, whose structure, shapes and dtypes stay what they are."""
        ...


@runtime_checkable
class Select(Protocol):
    """(state, snapshot, key) -> (selection, state)."""

    def __call__(
        self, state: State, snapshot: Snapshot, key: PRNGKeyArray, /
    ) -> tuple[Selection, State]:
        """A new subset. Pure: the same arguments give the same answer."""
        ...


@runtime_checkable
class Record(Protocol):
    """(logits, features, labels) -> what to remember of each example, a dictionary of arrays."""

    def __call__(
        self,
        logits: Float[Array, "b C"],
        features: Float[Array, "b E"],
        labels: Int[Array, "b"],
        /,
    ) -> Recorded:
        """Arrays of b rows, by name. Runs inside the jitted step, in training mode."""
        ...


@runtime_checkable
class Observe(Protocol):
    """(state, seen) -> state."""

    def __call__(self, state: State, seen: Seen, /) -> State:
        """The state after an epoch, from what `record` gave in it; on the host."""
        ...


@runtime_checkable
class RowsOf(Protocol):
    """(state, key) -> the rows that the next selection looks at."""

    def __call__(self, state: State, key: PRNGKeyArray, /) -> Rows | None:
        """None for all of them."""
        ...
