"""Train on a weighted subset of the data: GRAD-MATCH in JAX.

gradients = last_layer_gradients(logits, features, labels)
selection = select_subset(gradients, budget, labels=labels)
# then: mini-batch loss = mean of w_i l_i over selection.indices, selection.weights
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradmatch_jax.data import Dataset as Dataset
    from gradmatch_jax.data import Split as Split
    from gradmatch_jax.data import load_dataset as load_dataset
    from gradmatch_jax.errors import UserError as UserError
    from gradmatch_jax.gradients import LastLayerGradients as LastLayerGradients
    from gradmatch_jax.gradients import class_sums as class_sums
    from gradmatch_jax.gradients import gradients_by_definition as gradients_by_definition
    from gradmatch_jax.gradients import last_layer_gradients as last_layer_gradients
    from gradmatch_jax.gradients import matching_error as matching_error
    from gradmatch_jax.gradients import weighted_sum as weighted_sum
    from gradmatch_jax.loops.batches import weighted_batches as weighted_batches
    from gradmatch_jax.loops.forwards import linen_forward as linen_forward
    from gradmatch_jax.loops.forwards import nnx_forward as nnx_forward
    from gradmatch_jax.loops.forwards import split_forward as split_forward
    from gradmatch_jax.loops.selector import Selector as Selector
    from gradmatch_jax.models.model import Model as Model
    from gradmatch_jax.models.model import Variables as Variables
    from gradmatch_jax.models.model import from_nnx as from_nnx
    from gradmatch_jax.projection import projected_gradients as projected_gradients
    from gradmatch_jax.selection.batch_subset import select_batches as select_batches
    from gradmatch_jax.selection.coreset import select_coreset as select_coreset
    from gradmatch_jax.selection.coreset import select_coreset_batches as select_coreset_batches
    from gradmatch_jax.selection.glister import Validation as Validation
    from gradmatch_jax.selection.glister import glister as glister
    from gradmatch_jax.selection.groups import Groups as Groups
    from gradmatch_jax.selection.groups import partition as partition
    from gradmatch_jax.selection.result import Selection as Selection
    from gradmatch_jax.selection.result import describe_stops as describe_stops
    from gradmatch_jax.selection.result import unweighted as unweighted
    from gradmatch_jax.selection.subset import select_subset as select_subset
    from gradmatch_jax.solvers.facility_location import (
        FacilityLocationResult as FacilityLocationResult,
    )
    from gradmatch_jax.solvers.facility_location import facility_location as facility_location
    from gradmatch_jax.solvers.options import MatchingOptions as MatchingOptions
    from gradmatch_jax.solvers.problem import StopReason as StopReason
    from gradmatch_jax.solvers.pursuit import OMPResult as OMPResult
    from gradmatch_jax.solvers.pursuit import omp as omp
    from gradmatch_jax.strategies import Entry as Entry
    from gradmatch_jax.strategies import register as register
    from gradmatch_jax.strategies.strategy import Pass as Pass
    from gradmatch_jax.strategies.strategy import Seen as Seen
    from gradmatch_jax.strategies.strategy import Snapshot as Snapshot
    from gradmatch_jax.strategies.strategy import Strategy as Strategy
    from gradmatch_jax.strategies.strategy import Task as Task
    from gradmatch_jax.strategies.strategy import stateless as stateless
    from gradmatch_jax.training.config import TrainConfig as TrainConfig
    from gradmatch_jax.training.loop import Result as Result
    from gradmatch_jax.training.loop import train as train
    from gradmatch_jax.training.saved import SavedRun as SavedRun
    from gradmatch_jax.training.saved import load_run as load_run

# Where each public name lives. It is imported at its first use, so that the command's help does not
# wait for JAX.
_HOME = {
    "data": (
        "Dataset",
        "Split",
        "load_dataset",
    ),
    "errors": ("UserError",),
    "gradients": (
        "LastLayerGradients",
        "class_sums",
        "gradients_by_definition",
        "last_layer_gradients",
        "matching_error",
        "weighted_sum",
    ),
    "loops.forwards": (
        "linen_forward",
        "nnx_forward",
        "split_forward",
    ),
    "loops.batches": ("weighted_batches",),
    "loops.selector": ("Selector",),
    "models.model": (
        "Model",
        "Variables",
        "from_nnx",
    ),
    "projection": ("projected_gradients",),
    "selection.batch_subset": ("select_batches",),
    "selection.coreset": (
        "select_coreset",
        "select_coreset_batches",
    ),
    "selection.glister": (
        "Validation",
        "glister",
    ),
    "selection.groups": (
        "Groups",
        "partition",
    ),
    "selection.result": (
        "Selection",
        "describe_stops",
        "unweighted",
    ),
    "selection.subset": ("select_subset",),
    "solvers.facility_location": (
        "FacilityLocationResult",
        "facility_location",
    ),
    "solvers.options": ("MatchingOptions",),
    "solvers.problem": ("StopReason",),
    "solvers.pursuit": (
        "OMPResult",
        "omp",
    ),
    "strategies": (
        "Entry",
        "register",
    ),
    "strategies.strategy": (
        "Pass",
        "Seen",
        "Snapshot",
        "Strategy",
        "Task",
        "stateless",
    ),
    "training.config": ("TrainConfig",),
    "training.loop": (
        "Result",
        "train",
    ),
    "training.saved": (
        "SavedRun",
        "load_run",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Dataset",
    "Entry",
    "FacilityLocationResult",
    "Groups",
    "LastLayerGradients",
    "MatchingOptions",
    "Model",
    "OMPResult",
    "Pass",
    "Result",
    "SavedRun",
    "Seen",
    "Selection",
    "Selector",
    "Snapshot",
    "Split",
    "StopReason",
    "Strategy",
    "Task",
    "TrainConfig",
    "UserError",
    "Validation",
    "Variables",
    "class_sums",
    "describe_stops",
    "facility_location",
    "from_nnx",
    "glister",
    "gradients_by_definition",
    "last_layer_gradients",
    "linen_forward",
    "load_dataset",
    "load_run",
    "matching_error",
    "nnx_forward",
    "omp",
    "partition",
    "projected_gradients",
    "register",
    "select_batches",
    "select_coreset",
    "select_coreset_batches",
    "select_subset",
    "split_forward",
    "stateless",
    "train",
    "unweighted",
    "weighted_batches",
    "weighted_sum",
]


def __getattr__(name: str):
    """Import a public name at its first use; the version is that of the installed package."""
    if name == "__version__":
        return importlib.metadata.version("gradmatch-jax")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"gradmatch_jax.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*globals(), *__all__})
