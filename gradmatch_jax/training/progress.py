"""How far a run is: in its plan, or in what it may spend."""

import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.training.schedule import Epoch
from gradmatch_jax.training.state import Limit, Run, TrainState


def _spent(limit: Limit, state: TrainState) -> float:
    """The share of the limit that is spent, at most 1."""
    seconds = float(state.times.train) + float(state.times.selection)
    spent = seconds if limit.unit == "seconds" else float(state.joules)
    if np.isnan(spent):
        raise UserError("the energy meter stopped answering: use --like-by seconds")
    return 1.0 if spent >= limit.amount else spent / limit.amount


def done(run: Run, state: TrainState) -> bool:
    """Whether the plan is at its end, or all that may be spent is."""
    spent_all = run.limit is not None and _spent(run.limit, state) >= 1
    return int(state.epoch) >= len(run.plan) or spent_all


def progress(run: Run, state: TrainState, epoch: Epoch) -> float:
    """The place in the learning rate's schedule: of what is spent, where that is what is fitted."""
    if run.limit is not None and run.limit.fitted:
        return _spent(run.limit, state)
    return epoch.progress
