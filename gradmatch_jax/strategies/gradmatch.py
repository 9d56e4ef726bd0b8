"""GRAD-MATCH in its three variants (paper, section 2 and appendix A.2.1)."""

import jax.numpy as jnp
import numpy as np

from gradmatch_jax.gradients import class_sums, per_gradient, weighted_sum
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.strategies.strategy import Need, Options, Snapshot, Strategy, Task, stateless


def gradmatch(task: Task, options: Options) -> Strategy:
    """Per class and per gradient: the paper's default."""
    return _per_class(task, options, "per_gradient")


def gradmatch_per_class(task: Task, options: Options) -> Strategy:
    """Per class, on the whole last-layer gradient: exact, because its Gram matrix factorises."""
    return _per_class(task, options, "exact")


def _matching(options: Options) -> dict:
    names = ("lam", "lam_scale", "eps", "nonnegative", "fill")
    return {name: getattr(options, name) for name in names}


def _needs(options: Options) -> tuple[Need, ...]:
    return ("train", "validation") if options.validation_target else ("train",)


def _per_class(task: Task, options: Options, approximation) -> Strategy:
    groups = partition(task.labels, task.budget, task.num_classes)
    counts = np.bincount(task.labels, minlength=task.num_classes)

    def target(snapshot: Snapshot):
        """Each class's validation gradient, scaled to the class's training size."""
        assert snapshot.validation is not None
        validation, labels = snapshot.validation.gradients, snapshot.validation.labels
        held = np.bincount(np.asarray(labels), minlength=task.num_classes)
        if approximation == "per_gradient":
            validation = per_gradient(validation, labels)
        scale = (counts / np.maximum(held, 1)).astype(np.float32)
        return class_sums(validation, labels, task.num_classes) * scale[:, None, None]

    def select(state, snapshot, key):
        assert snapshot.train is not None
        selection = select_subset(
            snapshot.train.gradients,
            task.budget,
            labels=groups,
            target=target(snapshot) if options.validation_target else None,
            approximation=approximation,
            key=key,
            **_matching(options),
        )
        return selection, state

    return Strategy(stateless, select, needs=_needs(options))


def gradmatch_pb(task: Task, options: Options) -> Strategy:
    """GRAD-MATCHPB: mini-batches as atoms, drawn anew at each selection."""

    def target(snapshot: Snapshot):
        assert snapshot.validation is not None
        validation = snapshot.validation.gradients
        n, held = len(task.labels), validation.features.shape[0]
        return weighted_sum(validation, jnp.full(held, n / held))

    def select(state, snapshot, key):
        assert snapshot.train is not None
        selection = select_batches(
            snapshot.train.gradients,
            task.budget,
            options.batch_size,
            key=key,
            target=target(snapshot) if options.validation_target else None,
            **_matching(options),
        )
        return selection, state

    return Strategy(stateless, select, needs=_needs(options))
