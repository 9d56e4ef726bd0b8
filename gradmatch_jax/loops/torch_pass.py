"""Forward passes of a PyTorch model, for a selection: what enters and leaves its last layer.

PyTorch is imported here and in `gradmatch_jax.torch`, and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from gradmatch_jax.errors import UserError


def torch_forward(
    model: torch.nn.Module, head: torch.nn.Module, dataset: Any, **arguments: Any
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The `forward` that `Selector` wants, of a PyTorch model.

    Args:
        model: called as model(x); the training mode of each of its parts is as it was afterwards.
        head: its last linear layer: features enter it, logits leave it.
        dataset: (x, y, ..) an item, in the order of the labels.
        **arguments: of the pass's `DataLoader`.

    Returns:
        A function of no rows or some: (logits, features) of the data set's examples in order.

    Raises:
        UserError: `head` is no part of the model, or does not take and give (n, width).
    """
    if not any(part is head for part in model.modules()):
        raise UserError("head is no part of the model; pass its last linear layer, as model.fc")

    def forward(rows: Any = None) -> tuple[jax.Array, jax.Array]:
        part = dataset if rows is None else Subset(dataset, np.asarray(rows).tolist())
        # A generator of its own: the user's draws do not depend on when a selection is due.
        loader = DataLoader(part, generator=torch.Generator(), **arguments)
        parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        with _evaluating(model), torch.no_grad(), _watched(head) as calls:
            for batch in loader:
                inputs = _moved(batch[0], device)
                model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
                parts.append(_one(calls))
        logits, features = (torch.cat(x) for x in zip(*parts, strict=True))
        return as_jax(logits), as_jax(features)

    return forward


def as_jax(tensor: torch.Tensor) -> jax.Array:
    """A tensor as a float32 array: by DLPack where JAX has the device, through the host if not."""
    tensor = tensor.detach().float().contiguous()
    try:
        return jnp.from_dlpack(tensor)
    except (RuntimeError, ValueError, TypeError, BufferError):
        return jnp.asarray(tensor.cpu().numpy())


def labels_of(dataset: Any) -> np.ndarray:
    """The labels of a data set of items (x, y, ..): its own list of them, or every item's.

    Raises:
        UserError: its items have no second part.
    """
    if isinstance(dataset, Subset):
        return labels_of(dataset.dataset)[np.asarray(dataset.indices, np.int64)]
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([labels_of(part) for part in dataset.datasets])
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        return dataset.tensors[1].cpu().numpy()
    for name in ("targets", "labels"):
        known = getattr(dataset, name, None)
        changed = getattr(dataset, "target_transform", None) is not None
        if known is not None and not callable(known) and len(known) == len(dataset) and not changed:
            return np.asarray(known.cpu() if isinstance(known, torch.Tensor) else known)
    try:
        return np.stack([np.asarray(dataset[i][1]) for i in range(len(dataset))])
    except (IndexError, TypeError, KeyError) as error:
        raise UserError("dataset's items must be (x, y, ..); or pass labels= (n,)") from error


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, and each part's own mode again after it."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _watched(head: torch.nn.Module) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """(logits, features) of each call of `head`, as they come."""
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def note(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append((output, inputs[0] if inputs else None))  # pyright: ignore[reportArgumentType]

    handle = head.register_forward_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


def _one(calls: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The only call there was since the last time; the list is empty again."""
    if len(calls) != 1:
        raise UserError(f"head ran {len(calls)} times in a forward pass; pass one that runs once")
    logits, features = calls.pop()
    if not all(isinstance(x, torch.Tensor) and x.ndim == 2 for x in (logits, features)):
        raise UserError("head must take and give (n, width); pass the model's last linear layer")
    return logits, features


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs.to(device) if hasattr(inputs, "to") else inputs
