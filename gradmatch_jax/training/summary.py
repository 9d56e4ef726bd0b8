"""What a run came to, from its state and its log."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradmatch_jax.training.state import Run, TrainState

# Weights that are worth this share of their number are as good as equal.
EVEN = 0.9


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
        "warning": warning(
            [_number(row["train_loss"]) for row in log], run.num_classes, _remedy(run, selections)
        ),
        **run.facts,
    }


def _number(loss: float | None) -> float:
    """As a log that was read back from JSON has none where it was not finite."""
    return math.nan if loss is None else loss


def _remedy(run: Run, selections: Sequence[dict[str, Any]]) -> str:
    """What makes the longest steps shorter: of uneven weights, their mean in each mini-batch."""
    shares = [s["effective_size"] / s["size"] for s in selections if s.get("effective_size")]
    by_weight = any(epoch.batching.weights == "selection" for epoch in run.plan)
    if not by_weight or not shares or min(shares) > EVEN:
        return "lower --lr"
    return f"--weighting batch (a selection weighs as {min(shares):.0%} of its size), or lower --lr"


def warning(losses: Sequence[float], classes: int, remedy: str = "lower --lr") -> str | None:
    """What looks wrong with a run that ended, if anything does.

    A loss that exploded and stayed is finite: an lr of 50 ends at 187. Guessing costs ln C, and a
    network that has learnt anything costs less than twice that. One that had learnt and then only
    guesses has collapsed: a step too long, on a few heavy examples say, left its units dead.

    Args:
        losses: the training loss of each epoch.
        classes: C.
        remedy: what to do about it.

    >>> warning([187.0], 10)
    'the training loss ended at 187, above the 2.3 of guessing: lower --lr'
    >>> warning([1.2, 0.3], 10)
    >>> warning([1.1, 0.01, 2.29, 2.3], 10)
    'the training loss went from 0.01 to 2.29 in epoch 2 and ended at guessing, 2.3: lower --lr'
    """
    guess = math.log(max(classes, 2))
    if not losses or not losses[-1] >= 0.95 * guess:  # nan is neither
        return None
    if losses[-1] > 2 * guess:
        said = f"the training loss ended at {losses[-1]:.3g}, above the {guess:.2g} of guessing"
        return f"{said}: {remedy}"
    learnt = [epoch for epoch, loss in enumerate(losses) if loss < guess / 2]
    if not learnt:
        return None
    last = learnt[-1]
    return (
        f"the training loss went from {losses[last]:.3g} to {losses[last + 1]:.3g} in epoch "
        f"{last + 1} and ended at guessing, {guess:.2g}: {remedy}"
    )
