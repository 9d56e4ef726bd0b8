"""How a run ends before its plan does: it was asked to stop, or it diverged."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.errors import Diverged, Stopped
from gradmatch_jax.training.checkpoints import Place
from gradmatch_jax.training.folder import RunFolder
from gradmatch_jax.training.state import TrainState


def stopped(epochs: int, saved: Place, folder: RunFolder | None) -> Stopped:
    """What is kept of a run that was asked to stop, and how to go on."""
    if folder is None:
        return Stopped(f"stopped in epoch {epochs}; nothing is kept without --out")
    if saved == Place(0):
        return Stopped(f"stopped in epoch {epochs}, before a checkpoint; nothing is lost but that")
    kept = f"the first {saved.epoch} epochs are"
    if saved.step:
        kept = f"all before {saved.in_words()} is"
    return Stopped(f"stopped; {kept} saved in {folder.path}: the same command goes on from there")


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    parts = [jnp.all(jnp.isfinite(x)) for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack(parts)) if parts else jnp.asarray(True)


def check_finite(state: TrainState, row: dict[str, Any], folder: RunFolder | None) -> None:
    """A bad state is told before it is saved.

    Raises:
        Diverged: the epoch's loss or a parameter is nan or infinite.
    """
    loss = row["train_loss"]
    if np.isfinite(loss) and bool(_all_finite(state.networks)):
        return
    what = f"the training loss is {loss}" if not np.isfinite(loss) else "parameters are nan or inf"
    kept = "" if folder is None else f" in another --out ({folder.describe_last()})"
    raise Diverged(f"{what} in epoch {row['epoch']}: training diverged; lower --lr{kept}")
