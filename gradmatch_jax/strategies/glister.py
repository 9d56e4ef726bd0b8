"""GLISTER-ONLINE as a strategy (Killamsetty et al. 2021)."""

from gradmatch_jax.selection import glister as solver
from gradmatch_jax.strategies.strategy import Strategy, Task, stateless


def glister(
    task: Task, *, lr: float = 0.01, greedy: solver.Greedy = "taylor", refresh: float = 0.03
) -> Strategy:
    """The subset whose step of size `lr` lowers the validation loss most, over all classes."""

    def select(state, snapshot, key):
        assert snapshot.train is not None
        assert snapshot.validation is not None
        selection = solver.glister(
            snapshot.train.gradients,
            solver.Validation(*snapshot.validation),
            task.budget,
            eta=lr,
            greedy=greedy,
            refresh=refresh,
            key=key,
        )
        return selection, state

    return Strategy(stateless, select, needs=("train", "validation"))
