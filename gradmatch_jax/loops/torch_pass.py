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
        UserError: `head` is no part of the model, does not take and give (n, width), or is not
          its last layer.
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
                out = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
                parts.append(_one(calls))
                _check_last(out, parts[-1][0])
        logits, features = (torch.cat(x) for x in zip(*parts, strict=True))
        return as_jax(logits), as_jax(features)

    return forward


def torch_gradient_norms(
    model: torch.nn.Module,
    head: torch.nn.Module,
    dataset: Any,
    labels: Any,
    *,
    loss: Any = "softmax",
    label_smoothing: float = 0.0,
    **arguments: Any,
) -> Callable[..., jax.Array]:
    """The `gradient_norms` that `Selector` wants for GraNd, of a PyTorch model.

    An example's gradient is that in all parameters that are trained, in evaluation mode, by
    vmap(grad) in parts that take 256 MB at most.

    Args:
        model: called as model(x); frozen parameters do not count.
        head: its last linear layer, whose outputs are the loss's.
        dataset: (x, ..) an item, in the order of the labels.
        labels: (n,), as the loss takes them.
        loss: "softmax", "mse" or "sigmoid".
        label_smoothing: of softmax and sigmoid.
        **arguments: of the pass's `DataLoader`.

    Returns:
        A function of no rows or some: (n,), ‖dl_i/dtheta‖ of the data set's examples in order.

    Raises:
        UserError: a loss that is a function of JAX; a model that torch.func cannot differentiate.
    """
    if loss is not None and not isinstance(loss, str):
        raise UserError("grand wants a loss by name in PyTorch; use el2n, which wants none")
    targets = torch.as_tensor(np.asarray(labels))

    def one(trained: Any, others: Any, x: Any, y: torch.Tensor) -> torch.Tensor:
        named = isinstance(x, Mapping)
        given = ((), {k: v[None] for k, v in x.items()}) if named else ((x[None],), {})
        with _watched(head) as calls:
            torch.func.functional_call(model, (trained, others), *given)
            logits, _ = _one(calls)
        return _loss_of(logits, y[None], loss, label_smoothing)

    def norms(rows: Any = None) -> jax.Array:
        wanted = np.arange(len(targets)) if rows is None else np.asarray(rows)
        part = Subset(dataset, wanted.tolist())
        named = {name: p.detach() for name, p in model.named_parameters()}
        trained = {k: named[k] for k, p in model.named_parameters() if p.requires_grad}
        others = {k: p for k, p in named.items() if k not in trained} | dict(model.named_buffers())
        size = sum(4 * p.numel() for p in trained.values())
        at_once = max(1, 2**28 // max(size, 1))
        run = torch.func.vmap(torch.func.grad(one), in_dims=(None, None, 0, 0), chunk_size=at_once)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        found, done = [], 0
        with _evaluating(model):
            for batch in DataLoader(part, generator=torch.Generator(), **arguments):
                inputs = _moved(batch[0], device)
                named = isinstance(inputs, Mapping)
                count = len(next(iter(inputs.values())) if named else inputs)
                y = targets[wanted[done : done + count]].to(device)
                found.append(_norms_of(run, trained, others, inputs, y))
                done += count
        return as_jax(torch.cat(found))

    return norms


def _norms_of(run: Callable[..., Any], *given: Any) -> torch.Tensor:
    try:
        each = run(*given)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"grand wants each example's gradient, which torch.func cannot take of this model "
            f"({said}); use el2n"
        ) from error
    return torch.sqrt(sum(g.flatten(1).square().sum(1) for g in each.values()))  # pyright: ignore[reportArgumentType]


def _loss_of(
    logits: torch.Tensor, y: torch.Tensor, loss: str | None, smoothing: float
) -> torch.Tensor:
    """The mean loss of a batch, by the names of `gradmatch_jax.losses`."""
    if loss == "mse":
        return torch.nn.functional.mse_loss(logits, y.to(logits.dtype).reshape(logits.shape))
    if loss == "sigmoid":
        aims = (1 - smoothing) * y.to(logits.dtype).reshape(logits.shape) + smoothing / 2
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, aims)
    return torch.nn.functional.cross_entropy(logits, y.long(), label_smoothing=smoothing)


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


def _check_last(out: Any, logits: torch.Tensor) -> None:
    """The model is as wide as its head; what keeps the width, log_softmax say, may follow."""
    if isinstance(out, torch.Tensor) and out.ndim == 2 and out.shape != logits.shape:
        raise UserError(
            f"head gives {logits.shape[1]} numbers an example and the model {out.shape[1]}: it is "
            "no last layer; pass the one whose outputs are the logits"
        )


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs.to(device) if hasattr(inputs, "to") else inputs
