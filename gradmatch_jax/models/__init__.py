"""The bundled models, by name.

Importing this package, and listing its names, loads neither JAX nor Flax. The interface
(`Model`, `Variables`, `from_nnx`) is in `gradmatch_jax.models.model`.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from gradmatch_jax.errors import UserError, no_such

if TYPE_CHECKING:
    from gradmatch_jax.models.model import Model

# name -> "module:function"; each function is (image_shape, num_classes, *, bf16) -> Model.
REGISTRY = {
    "lenet": "gradmatch_jax.models.lenet:lenet",
    "mnistnet": "gradmatch_jax.models.mnistnet:mnistnet",
    "mlp": "gradmatch_jax.models.mlp:mlp",
    "logistic": "gradmatch_jax.models.mlp:logistic",
    "resnet18": "gradmatch_jax.models.resnet:resnet18",
    "resnet20": "gradmatch_jax.models.resnet_cifar:resnet20",
    "resnet164": "gradmatch_jax.models.resnet_cifar:resnet164",
}


def model_names() -> tuple[str, ...]:
    """The names `build_model` takes."""
    return tuple(REGISTRY)


@functools.lru_cache(maxsize=16)  # the same model is the same object: steps compiled for it serve
def build_model(
    name: str, image_shape: tuple[int, int, int], num_classes: int, *, bf16: bool = False
) -> Model:
    """Build a bundled model for images of `image_shape` = (height, width, channels).

    With `bf16` the hidden layers compute in bfloat16; parameters, batch-norm statistics, logits
    and features stay float32.

    Raises:
        UserError: no model has this name, or the images are too small for it.
    """
    if name not in REGISTRY:
        raise no_such("model", name, REGISTRY)
    if num_classes < 1:
        raise UserError(f"num_classes must be at least 1, not {num_classes}.")
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise UserError(f"image_shape must be (height, width, channels), not {image_shape}.")
    module, function = REGISTRY[name].split(":")
    return getattr(importlib.import_module(module), function)(image_shape, num_classes, bf16=bf16)
