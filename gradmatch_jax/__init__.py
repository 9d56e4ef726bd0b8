"""Train on a weighted subset of the data: GRAD-MATCH in JAX.

gradients = last_layer_gradients(logits, features, labels)
selection = select_subset(gradients, budget, labels=labels)
# then: mini-batch loss = mean of w_i l_i over selection.indices, selection.weights

`omp`, `train`, `glister` and `facility_location` share their modules' names:
`from gradmatch_jax.omp import omp`, `from gradmatch_jax.train import train`, and so on.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradmatch_jax.batch_matching import select_batches
    from gradmatch_jax.config import TrainConfig
    from gradmatch_jax.coreset import select_coreset, select_coreset_batches
    from gradmatch_jax.errors import UserError
    from gradmatch_jax.gradients import (
        LastLayerGradients,
        class_sums,
        gradients_by_definition,
        last_layer_gradients,
        matching_error,
        weighted_sum,
    )
    from gradmatch_jax.matching import select_subset
    from gradmatch_jax.models.model import Model, Variables, from_nnx
    from gradmatch_jax.omp import OMPResult
    from gradmatch_jax.selection import Groups, Selection, partition
    from gradmatch_jax.strategies import Entry, register
    from gradmatch_jax.strategies.strategy import Strategy
    from gradmatch_jax.train import Result

_HOME = {
    "LastLayerGradients": "gradients",
    "last_layer_gradients": "gradients",
    "gradients_by_definition": "gradients",
    "weighted_sum": "gradients",
    "class_sums": "gradients",
    "matching_error": "gradients",
    "OMPResult": "omp",
    "Groups": "selection",
    "Selection": "selection",
    "partition": "selection",
    "select_subset": "matching",
    "select_batches": "batch_matching",
    "select_coreset": "coreset",
    "select_coreset_batches": "coreset",
    "Entry": "strategies",
    "register": "strategies",
    "Strategy": "strategies.strategy",
    "Model": "models.model",
    "Variables": "models.model",
    "from_nnx": "models.model",
    "TrainConfig": "config",
    "Result": "train",
    "UserError": "errors",
}

__all__ = [
    "Entry",
    "Groups",
    "LastLayerGradients",
    "Model",
    "OMPResult",
    "Result",
    "Selection",
    "Strategy",
    "TrainConfig",
    "UserError",
    "Variables",
    "class_sums",
    "from_nnx",
    "gradients_by_definition",
    "last_layer_gradients",
    "matching_error",
    "partition",
    "register",
    "select_batches",
    "select_coreset",
    "select_coreset_batches",
    "select_subset",
    "weighted_sum",
]


def __getattr__(name: str):
    """Import a public name at its first use, so that the command's help does not wait for JAX."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"gradmatch_jax.{_HOME[name]}"), name)
