"""What a run came to, from its state and its log."""

import math
from typing import Any

import numpy as np

from gradmatch_jax.training.state import Run, TrainState


def summarise(run: Run, state: TrainState, log: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of a run that has ended, as result.json has it.

    Args:
        run: its fixed parts.
        state: after the last epoch.
        log: a row an epoch, as it is checkpointed with the state.
    """
    times = state.times
    selections = [row["selection"] for row in log if "selection" in row]
    done = run.plan[: int(state.epoch)]
    own = [epoch for epoch in done if epoch.network == "model"]
    subsets = [row["examples"] for row in log if not row["full"]]
    return {
        "test_accuracy": log[-1]["test_accuracy"],  # the last epoch's, always measured
        "validation_accuracy": log[-1]["validation_accuracy"],  # to tune by
        "train_seconds": float(times.train),
        "selection_seconds": float(times.selection),
        "compile_seconds": float(times.compile),
        "joules": None if np.isnan(state.joules) else float(state.joules),
        "energy_source": run.meter.source,
        "epochs": len(own),
        "full_epochs": sum(epoch.full for epoch in own),
        "proxy_epochs": len(done) - len(own),
        "examples": sum(row["examples"] for row in log),  # seen in all, the proxy's included
        "subset_size": subsets[-1] if subsets else run.facts["train_size"],
        "num_matched": [s["num_matched"] for s in selections],
        "matching_error": [s["matching_error"] for s in selections],
        "stopped": [s["stopped"] for s in selections],
        "warning": warning(log[-1]["train_loss"], run.num_classes),
        **run.facts,
    }


def warning(loss: float | None, classes: int) -> str | None:
    """What looks wrong with a run that ended, if anything does.

    A loss that exploded and stayed is finite: an lr of 50 ends at 187. Guessing costs ln C, and a
    network that has learnt anything costs less than twice that.

    >>> warning(187.0, 10)
    'the training loss ended at 187, above the 2.3 of guessing: lower --lr'
    >>> warning(0.3, 10)
    """
    guess = math.log(max(classes, 2))
    if loss is None or loss <= 2 * guess:
        return None
    return f"the training loss ended at {loss:.3g}, above the {guess:.2g} of guessing: lower --lr"
