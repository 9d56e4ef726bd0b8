"""GRAD-MATCH in its three variants (paper, section 2 and appendix A.2.1)."""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import class_sums, per_gradient, weighted_sum
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.subset import Approximation, select_subset
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.strategies.strategy import Need, Snapshot, Strategy, Task, stateless

DEFAULTS = MatchingOptions()
# Whose class sizes a validation target has.
Shares = Literal["train", "validation"]


def gradmatch(
    task: Task,
    *,
    options: MatchingOptions = DEFAULTS,
    validation_target: bool = False,
    target_shares: Shares = "train",
) -> Strategy:
    """Per class and per gradient: the paper's default."""
    return _per_class(task, "per_gradient", options, validation_target, target_shares)


def gradmatch_per_class(
    task: Task,
    *,
    options: MatchingOptions = DEFAULTS,
    validation_target: bool = False,
    target_shares: Shares = "train",
) -> Strategy:
    """Per class, on the whole last-layer gradient: exact, because its Gram matrix factorises."""
    return _per_class(task, "exact", options, validation_target, target_shares)


def _per_class(
    task: Task,
    approximation: Approximation,
    options: MatchingOptions,
    validation_target: bool,
    target_shares: Shares,
) -> Strategy:
    if target_shares != "train" and not validation_target:
        raise UserError("target_shares needs validation_target; leave it out or add that")
    groups = partition(task.labels, task.budget, task.num_classes)
    own_column = approximation == "per_gradient"
    counts = np.bincount(task.labels, minlength=task.num_classes)

    def target(snapshot: Snapshot):
        """Each class's validation gradient g_c of m_c examples, as n_c g_c / m_c: the class counts
        as in the training set. Or all as n g_c / m: it counts as in the validation set."""
        assert snapshot.validation is not None
        validation, labels = snapshot.validation.gradients, np.asarray(snapshot.validation.labels)
        held = np.bincount(labels, minlength=task.num_classes)
        if own_column and validation.residuals.shape[1] > 1:
            validation = per_gradient(validation, labels)
        scale = counts / np.maximum(held, 1)
        if target_shares == "validation":
            scale = np.full(task.num_classes, counts.sum() / held.sum())
        sums = class_sums(validation, labels, task.num_classes)
        return sums * scale.astype(np.float32)[:, None, None]

    def select(state, snapshot, key):
        assert snapshot.train is not None
        gradients = snapshot.train.gradients
        # A single output's column is the whole gradient, whatever the groups.
        single = gradients.residuals.shape[1] == 1
        if own_column and not (task.classes or single):
            raise UserError(
                "gradmatch reads each class's own column of the gradient, and this loss has "
                "outputs but no classes; use gradmatch-per-class or gradmatch-pb, which read all "
                "of it"
            )
        selection = select_subset(
            gradients,
            task.budget,
            labels=groups,
            target=target(snapshot) if validation_target else None,
            approximation="exact" if single else approximation,
            key=key,
            options=options,
        )
        return selection, state

    return _strategy(select, options, validation_target)


def gradmatch_pb(
    task: Task,
    *,
    batch_size: int = 20,
    options: MatchingOptions = DEFAULTS,
    validation_target: bool = False,
) -> Strategy:
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
            batch_size,
            key=key,
            target=target(snapshot) if validation_target else None,
            options=options,
        )
        return selection, state

    return _strategy(select, options, validation_target)


def _strategy(select, options: MatchingOptions, validation_target: bool) -> Strategy:
    needs: tuple[Need, ...] = ("train", "validation") if validation_target else ("train",)
    return Strategy(stateless, select, needs=needs, signed=not options.nonnegative)
