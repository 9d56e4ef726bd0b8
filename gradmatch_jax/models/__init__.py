"""The bundled models, by name.

Importing this package, and listing its names, loads neither JAX nor Flax. The interface
(`Model`, `Variables`, `from_nnx`) is in `gradmatch_jax.models.model`.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, NamedTuple

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.models.spec import InputSpec, Kind

if TYPE_CHECKING:
    from gradmatch_jax.models.model import Model


class Bundled(NamedTuple):
    """A bundled model: `function` is "module:name" of a (spec, num_classes, *, bf16) -> Model."""

    function: str
    takes: tuple[Kind, ...]


_IMAGES: tuple[Kind, ...] = ("images",)
_NUMBERS: tuple[Kind, ...] = ("images", "vectors")
_TOKENS: tuple[Kind, ...] = ("tokens",)

REGISTRY = {
    "lenet": Bundled("gradmatch_jax.models.lenet:lenet", _IMAGES),
    "mnistnet": Bundled("gradmatch_jax.models.mnistnet:mnistnet", _IMAGES),
    "mlp": Bundled("gradmatch_jax.models.mlp:mlp", _NUMBERS),
    "logistic": Bundled("gradmatch_jax.models.mlp:logistic", _NUMBERS),
    "resnet18": Bundled("gradmatch_jax.models.resnet:resnet18", _IMAGES),
    "resnet20": Bundled("gradmatch_jax.models.resnet_cifar:resnet20", _IMAGES),
    "resnet164": Bundled("gradmatch_jax.models.resnet_cifar:resnet164", _IMAGES),
    "embedding-bag": Bundled("gradmatch_jax.models.embedding_bag:embedding_bag", _TOKENS),
}


def model_names() -> tuple[str, ...]:
    """The names `build_model` takes."""
    return tuple(REGISTRY)


@functools.lru_cache(maxsize=16)  # the same model is the same object: steps compiled for it serve
def build_model(
    name: str, inputs: InputSpec | tuple[int, ...], num_classes: int, *, bf16: bool = False
) -> Model:
    """Build a bundled model for `inputs`: an `InputSpec`, or the shape of one input of floats.

    With `bf16` the hidden layers compute in bfloat16; parameters, batch-norm statistics, logits
    and features stay float32.

    Raises:
        UserError: no model has this name, or it does not take such inputs.
    """
    if name not in REGISTRY:
        raise no_such("model", name, REGISTRY)
    if num_classes < 1:
        raise UserError(f"num_classes must be at least 1, not {num_classes}.")
    spec = inputs if isinstance(inputs, InputSpec) else InputSpec(tuple(inputs))
    if not spec.shape or min(spec.shape) < 1:
        raise UserError(f"a model's inputs must have a shape of positive sizes, not {spec.shape}.")
    entry = REGISTRY[name]
    if spec.kind not in entry.takes:
        fit = ", ".join(other for other in REGISTRY if spec.kind in REGISTRY[other].takes)
        raise UserError(
            f"model {name} takes {' or '.join(entry.takes)}, not {spec.kind} of shape "
            f"{spec.shape}; models that do: {fit}"
        )
    module, function = entry.function.split(":")
    return getattr(importlib.import_module(module), function)(spec, num_classes, bf16=bf16)
