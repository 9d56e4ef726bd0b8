"""When a run is saved, and when it is left: after its epochs, or within them."""

import time
from collections.abc import Callable

from gradmatch_jax.training.checkpoints import Place
from gradmatch_jax.training.left import Left
from gradmatch_jax.training.processes import alone, any_of, first
from gradmatch_jax.training.state import Run, TrainState


def place_of(state: TrainState, left: Left | None) -> Place:
    """How far a run is."""
    return Place(int(state.epoch), 0 if left is None else left.begun.steps)


class Pauses:
    """What was saved last, and whether to save again, or to stop.

    An epoch is left in its middle to be saved there, every `checkpoint_steps` steps where a
    checkpoint is due, and where the run is asked to stop. Without `checkpoint_steps` it is left for
    the latter alone, and only where the state before it is saved: nothing more could be kept.
    Several processes leave at the same step, so they ask each other, every `checkpoint_steps`.
    """

    def __init__(self, run: Run, kept: bool, stop: Callable[[], bool], at: Place):
        """kept: whether some process has the run's folder. at: what is saved."""
        self.at = at
        self.keeps = kept and run.checkpoint_steps > 0
        self._seconds, self._steps = run.checkpoint_seconds, run.checkpoint_steps
        self._stop, self._asked, self._when = stop, False, time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() - self._when >= self._seconds

    def saved(self, at: Place) -> None:
        """A checkpoint was made."""
        self.at, self._when = at, time.monotonic()

    def leaves(self) -> bool:
        """Whether the run is to be left at this pause; the same in all processes."""
        return self._asked

    def within(self, epoch: int) -> Callable[[int], bool]:
        """Whether to leave an epoch between its steps, by their number."""
        if not self.keeps:
            may_leave = alone() and self.at == Place(epoch)
            return (lambda steps: self._leave(self._stop())) if may_leave else (lambda steps: False)
        before = self.at.step if self.at.epoch == epoch else 0

        def pause(steps: int) -> bool:
            nonlocal before
            interval, before = steps // self._steps > before // self._steps, steps
            if alone():
                return self._leave(self._stop()) or (interval and self.due())
            if not interval:
                return False
            self._leave(any_of(self._stop()))
            return self._asked or any_of(first() and self.due())

        return pause

    def _leave(self, asked: bool) -> bool:
        self._asked = asked
        return asked
