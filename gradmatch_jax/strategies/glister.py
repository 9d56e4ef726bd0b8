"""GLISTER-ONLINE as a strategy (Killamsetty et al. 2021)."""

from typing import Any

from gradmatch_jax.selection import glister as solver
from gradmatch_jax.strategies.strategy import Options, Strategy, Task, stateless


def glister(task: Task, options: Options) -> Strategy:
    """The subset whose step of size `lr` lowers the validation loss most, over all classes."""
    greedy: Any = options.glister_greedy

    def select(state, snapshot, key):
        assert snapshot.train is not None
        assert snapshot.validation is not None
        selection = solver.glister(
            snapshot.train.gradients,
            solver.Validation(*snapshot.validation),
            task.budget,
            eta=options.lr,
            greedy=greedy,
            refresh=options.glister_refresh,
            key=key,
        )
        return selection, state

    return Strategy(stateless, select, needs=("train", "validation"))
