"""Selection in a PyTorch training loop: a `DataLoader` of the chosen examples and their weights.

```
loader = SubsetLoader(dataset, model, head=model.fc, strategy="gradmatch-pb", fraction=0.05,
                      every=20, batch_size=128, num_workers=4)
for epoch in range(epochs):
    for x, y, w in loader:
        loss = (w * F.cross_entropy(model(x), y, reduction="none")).mean()
        ...
```

The features and logits are what enters and leaves `head`, read by a hook while the model runs in
evaluation mode; tensors go to JAX by DLPack, without a copy where both are on one device.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.inputs.values import as_count, as_flag, short
from gradmatch_jax.loops.selector import Selector
from gradmatch_jax.loops.settings import applicable, entry_of
from gradmatch_jax.loops.torch_pass import (
    as_jax,
    labels_of,
    torch_forward,
    torch_gradient_norms,
)
from gradmatch_jax.strategies.registry import keywords

__all__ = ["SubsetLoader", "as_jax", "torch_forward", "torch_gradient_norms"]

# What DataLoader takes; its own ways of drawing are this loader's.
OURS = ("dataset", "shuffle", "sampler", "batch_sampler", "batch_size")
PASSED_ON = frozenset(inspect.signature(DataLoader).parameters) - set(OURS)
# Of those, what a pass without a shuffle wants too.
OF_A_PASS = ("num_workers", "collate_fn", "pin_memory", "worker_init_fn", "multiprocessing_context")
SELECTOR = frozenset(inspect.signature(Selector).parameters) - {"labels", "settings", "forward"}


class SubsetLoader:
    """A `DataLoader` over a weighted subset that is chosen anew as training goes on.

    Each iteration is an epoch: (x, y, w), or whatever the data set's batches hold with the weights
    behind. The loss of a mini-batch is the mean of w_i l_i. CRAIG's weights have mean 1 in each.
    """

    def __init__(
        self,
        dataset: Any,
        model: torch.nn.Module,
        *,
        head: torch.nn.Module,
        strategy: Any = "gradmatch-pb",
        fraction: float | None = None,
        every: int = 20,
        batch_size: int = 1,
        shuffle: bool = True,
        labels: Any = None,
        plain: Any = None,
        validation: Any = None,
        pass_batch_size: int | None = None,
        **arguments: Any,
    ):
        """Read the labels; nothing is selected until the first epoch.

        Args:
            dataset: map-style, (x, y, ..) an item. Augmentation is its own matter.
            model: called as model(x), or model(**x) where x is a dictionary.
            head: its last linear layer, which gives the logits.
            strategy: see `Selector`.
            fraction: k/n.
            every: R, epochs between selections.
            batch_size: of training; gradmatch-pb and craig-pb select batches of that size.
            shuffle: a fresh order each epoch, by the seed, where the strategy gives none.
            labels: (n,), where they cannot be read from `dataset.targets` or the like and reading
                every item once would take long.
            plain: the same examples without augmentation, for the selection's passes.
            validation: a data set, where the strategy reads one (glister).
            pass_batch_size: of the selection's passes. None: four times `batch_size`.
            **arguments: of `DataLoader` (num_workers, pin_memory, ..) and of `Selector` (budget,
                epochs, warm, pool, seed, loss, lam, ..).

        Raises:
            UserError: an argument of neither, or one that cannot be.
        """
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise UserError("dataset must be map-style, with __getitem__ and __len__")
        for name in ("sampler", "batch_sampler"):
            if name in arguments:
                raise UserError(f"{name}: SubsetLoader draws the rows itself; leave it out")
        batch_size = as_count("batch_size", batch_size, least=1)
        ours = {k: v for k, v in arguments.items() if k in PASSED_ON}
        settings = {k: v for k, v in arguments.items() if k not in PASSED_ON}
        _, entry, _ = entry_of(strategy, False)
        own = keywords(entry)
        settings |= {"batch_size": batch_size} if "batch_size" in own else {}
        for setting in arguments:
            known = PASSED_ON | SELECTOR | set(applicable(entry))
            if setting not in known:
                raise no_such("argument", setting, sorted(known))
        self.dataset, self.epoch, self._shuffle = dataset, 0, as_flag("shuffle", shuffle)
        held = None if validation is None else labels_of(validation)
        labels = labels_of(dataset) if labels is None else labels
        for name, given in (("labels", labels), ("plain", dataset if plain is None else plain)):
            if len(given) != len(dataset):
                raise UserError(
                    f"{name} has {len(given)} entries and the data set {len(dataset)}: they are of "
                    "the same examples, in order"
                )
        self.selector = Selector(
            strategy,
            labels=labels,
            fraction=fraction,
            every=every,
            validation_labels=held,
            **settings,
        )
        passes = {k: v for k, v in ours.items() if k in OF_A_PASS}
        passes["batch_size"] = (
            4 * batch_size
            if pass_batch_size is None
            else as_count("pass_batch_size", pass_batch_size, least=1)
        )
        plain = dataset if plain is None else plain
        self._forward = torch_forward(model, head, plain, **passes)
        self._validation = self._norms = None
        if "gradient_norms" in self.selector.needs:
            of = {k: v for k, v in settings.items() if k in ("loss", "label_smoothing")}
            self._norms = torch_gradient_norms(model, head, plain, labels, **of, **passes)
        if validation is not None:
            self._validation = torch_forward(model, head, validation, **passes)
        self._drawn, self._taken = _Drawn(), np.zeros(0, np.int64)
        self._seed = self.selector.seed
        relative = self.selector.weighting == "batch"
        collate = _Collate(ours.pop("collate_fn", None), relative)
        self._loader = DataLoader(
            _Weighted(dataset), batch_size, sampler=self._drawn, collate_fn=collate, **ours
        )

    @property
    def epochs(self) -> int | None:
        """How many epochs the plan has; None where it goes on for ever."""
        return self.selector.epochs

    def __len__(self) -> int:
        """Mini-batches of the coming epoch, at most."""
        examples, size = self.selector.expects(self.epoch), self._loader.batch_size or 1
        return examples // size if self._loader.drop_last else -(-examples // size)

    def __iter__(self) -> Iterator[Any]:
        """The next epoch's mini-batches, the weights behind."""
        epoch = self.epoch
        rows, weights = self.selector(
            epoch, self._forward, validation=self._validation, gradient_norms=self._norms
        )
        self.epoch = epoch + 1
        order = np.arange(len(rows))
        if self._shuffle and not self.selector.ordered(epoch):
            order = np.random.default_rng([self._seed, epoch]).permutation(len(rows))
        rows, weights = rows[order], weights[order]
        self._drawn.entries = list(zip(rows.tolist(), weights.tolist(), strict=True))
        size = self._loader.batch_size or 1
        for i, batch in enumerate(self._loader):
            self._taken = rows[i * size : (i + 1) * size]
            yield batch

    def observe(self, **recorded: Any) -> None:
        """Tell the strategy what the last mini-batch showed: losses=, correct= or logits=.

        InfoBatch and forgetting want it, see `Selector.observe`.
        """
        self.selector.observe(self._taken, **recorded)

    def set_epoch(self, epoch: int) -> None:
        """Number the epoch that comes next, as samplers of PyTorch have it."""
        self.epoch = as_count("epoch", epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` goes on from, as tensors, numbers and strings."""
        arrays = {
            name: torch.from_numpy(np.array(value)) if value.dtype.kind in "iufb" else str(value)
            for name, value in self.selector.state().items()
        }
        return {"epoch": self.epoch, "selector": arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the epoch after the last one of `state`.

        Raises:
            UserError: a state of a loader that was made otherwise.
        """
        if not isinstance(state, Mapping) or set(state) != {"epoch", "selector"}:
            raise UserError(f"state must be what state_dict() gave, not {short(state)}")
        self.selector.restore(
            {k: v if isinstance(v, str) else np.asarray(v) for k, v in state["selector"].items()}
        )
        self.set_epoch(state["epoch"])


class _Drawn(Sampler):
    """The rows and weights of an epoch, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, float]] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class _Weighted(Dataset):
    """Items with the weights that the sampler drew beside their rows."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __getitem__(self, entry: Any) -> tuple[Any, float]:
        row, weight = entry
        return self.dataset[row], weight

    def __len__(self) -> int:
        return len(self.dataset)


class _Collate:
    """The user's collation, or PyTorch's, and the weights behind; workers can be sent it."""

    def __init__(self, collate: Any, relative: bool):
        self.collate = torch.utils.data.default_collate if collate is None else collate
        self.relative = relative  # to the mini-batch's mean

    def __call__(self, items: list[tuple[Any, float]]) -> Any:
        batch = self.collate([item for item, _ in items])
        weights = torch.tensor([weight for _, weight in items], dtype=torch.float32)
        if self.relative and weights.sum() > 0:
            weights = weights / weights.mean()
        if isinstance(batch, Mapping):
            return {**batch, "weight": weights}
        return (*batch, weights) if isinstance(batch, tuple | list) else (batch, weights)
