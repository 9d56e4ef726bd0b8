"""What a strategy is shown of the network, and what is logged of its answer."""

from typing import Any

import jax
import numpy as np

from gradmatch_jax.selection.result import Selection, effective_size, stopped_short
from gradmatch_jax.strategies.strategy import Pass, Snapshot
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, collect_gradient_norms
from gradmatch_jax.training.state import Run, TrainState


def take_snapshot(run: Run, state: TrainState, key: jax.Array) -> Snapshot:
    """What the strategy needs to know of the network that scores, on the rows it looks at."""
    steps, needs = run.steps[run.scorer], run.strategy.needs
    variables = state.networks[run.scorer].variables
    rows = run.strategy.rows(state.strategy, key)

    def look(feed: Feed, part: np.ndarray | None) -> Pass:
        labels = feed.host_labels if part is None else feed.host_labels[part]
        kept = collect(steps, variables, feed, rows=part, dtype=run.pass_dtype, split=True)
        return Pass(*kept, run.place.beside(kept[0], labels))

    train_rows, held_rows = (None, None) if rows is None else rows
    norms = None
    if "gradient_norms" in needs:
        norms = collect_gradient_norms(steps, variables, run.train, rows=train_rows)
    return Snapshot(
        train=look(run.train, train_rows) if "train" in needs else None,
        validation=look(run.validation, held_rows) if "validation" in needs else None,
        gradient_norms=norms,
        rows=rows,
    )


def describe(selection: Selection) -> dict[str, Any]:
    """A selection's diagnostics, as logged."""
    return {
        "size": int(selection.size),
        "num_matched": int(selection.num_matched),
        "matching_error": float(selection.matching_error),
        "stopped": stopped_short(selection),
        "effective_size": effective_size(selection),
    }
