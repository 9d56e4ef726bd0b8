"""Forward passes of a loop of one's own, as a strategy is shown them and told of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.gradients import last_layer_gradients
from gradmatch_jax.inputs.arrays import ArrayLike, as_array, as_floats, as_rows, check_finite
from gradmatch_jax.inputs.values import short
from gradmatch_jax.loops.targets import Targets
from gradmatch_jax.losses import Loss
from gradmatch_jax.strategies.strategy import Pass, Rows, Seen, Snapshot, Strategy
from gradmatch_jax.strategies.task import LossPass


class Asked(NamedTuple):
    """What a user passes to be called when a selection is due; None where nothing was."""

    forward: Any
    validation: Any
    gradient_norms: Any


class Objective(NamedTuple):
    """The loss, and the labels that it takes."""

    loss: Loss | str
    label_smoothing: float
    train: Targets
    validation: Targets | None


def snapshot_of(
    strategy: Strategy, rows: Rows | None, asked: Asked, objective: Objective
) -> Snapshot:
    """The passes that the strategy needs, on the rows it looks at; others are not called.

    Raises:
        UserError: a function that is missing, or what it returns does not fit.
    """
    train_rows, held_rows = (None, None) if rows is None else rows
    train = validation = norms = None
    if "train" in strategy.needs:
        train = _look("forward", asked.forward, train_rows, objective, objective.train)
    if "validation" in strategy.needs:
        assert objective.validation is not None
        validation = _look(
            "validation", asked.validation, held_rows, objective, objective.validation
        )
    if "gradient_norms" in strategy.needs:
        given = _called("gradient_norms", asked.gradient_norms, train_rows)
        norms = as_floats("gradient_norms", given)
        wanted = (_count(objective.train, train_rows),)
        if norms.shape != wanted:
            raise UserError(f"gradient_norms gave {norms.shape}, expected {wanted}: one an example")
    return Snapshot(train, validation, norms, rows)


def recorded_names(strategy: Strategy, classes: int) -> tuple[str, ...]:
    """What the strategy's `record` gives, by shape: nothing is computed."""
    rows = [jax.ShapeDtypeStruct((2, width), np.float32) for width in (classes, 1)]
    labels = jax.ShapeDtypeStruct((2,), np.int32)
    return tuple(jax.eval_shape(strategy.record, *rows, labels))


def recorded_of(
    name: str,
    strategy: Strategy,
    wanted: tuple[str, ...],
    objective: Objective,
    taken: Int[np.ndarray, "b"],
    logits: ArrayLike,
    features: ArrayLike | None,
) -> dict[str, Any]:
    """What a strategy records of rows, from their logits.

    Raises:
        UserError: of another loss than the softmax, which records are not made for.
    """
    if wanted and (objective.loss not in (None, "softmax") or objective.label_smoothing):
        raise UserError(
            f"{name} has {wanted[0]} of logits for the plain softmax only; pass {wanted[0]}="
        )
    labels = jnp.asarray(objective.train.groups[taken])
    return dict(strategy.record(*as_pass(logits, features), labels))


def seen_of(
    name: str,
    wanted: tuple[str, ...],
    taken: Int[np.ndarray, "b"],
    recorded: Mapping[str, ArrayLike],
) -> Seen:
    """What a strategy remembers of rows, of what was recorded.

    Raises:
        UserError: other names or lengths than it wants.
    """
    for given in recorded if wanted else ():
        if given not in wanted:
            raise no_such("record", given, wanted)
    missing = [field for field in wanted if field not in recorded]
    if missing:
        raise UserError(f"{name} observes {missing[0]}; pass that, or logits")
    values = {field: np.asarray(as_array(field, recorded[field])) for field in wanted}
    for field, value in values.items():
        if value.shape[:1] != taken.shape:  # `balanced` records a sketch a row
            raise UserError(f"{field} have shape {value.shape} and there are {len(taken)} rows")
        check_finite(field, value, dtype=np.float32)
    return Seen(taken, values)


def joined(parts: list[Seen]) -> Seen:
    """What several mini-batches saw, as one epoch."""
    names = parts[0].recorded
    recorded = {name: np.concatenate([part.recorded[name] for part in parts]) for name in names}
    return Seen(np.concatenate([part.indices for part in parts]), recorded)


def _look(
    name: str, call: Any, rows: np.ndarray | None, objective: Objective, targets: Targets
) -> Pass:
    """A pass as the strategies know it, with the loss's own residuals."""
    given = _called(name, call, rows)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(f"{name} must return (logits, features), not {short(given)}")
    logits, features = as_pass(*given)
    wanted = _count(targets, rows)
    if len(logits) != wanted or len(features) != wanted:
        raise UserError(
            f"{name} gave {len(logits)} logits and {len(features)} features; {wanted} of each are "
            "wanted, in order"
        )
    if targets.labelled and features.shape[1] == targets.classes < logits.shape[1]:
        raise UserError(
            f"{name} gave {logits.shape[1]} logits an example and {targets.classes} features, and "
            f"there are {targets.classes} classes: return (logits, features), in that order; if it "
            f"does, pass num_classes={logits.shape[1]}"
        )
    part = slice(None) if rows is None else rows
    gradients = last_layer_gradients(
        logits,
        features,
        targets.values[part],
        objective.loss,
        label_smoothing=objective.label_smoothing,
    )
    labels = jnp.asarray(targets.groups[part])
    return LossPass(logits, gradients.features, labels, gradients.residuals)


def _count(targets: Targets, rows: np.ndarray | None) -> int:
    return len(targets.groups) if rows is None else len(rows)


def _called(name: str, call: Any, rows: np.ndarray | None) -> Any:
    """What the user's function gives, for all rows or those of a pool."""
    if not callable(call):
        what = "" if call is None else f", not {short(call)}"
        raise UserError(f"a selection is due: pass {name}=, a function{what}")
    return call() if rows is None else call(np.array(rows, np.int64))


def as_pass(logits: ArrayLike, features: ArrayLike | None) -> tuple[Array, Array]:
    """Checked logits and features; where there are no features, a column of zeros."""
    (logits,) = as_rows("logits", logits)
    if features is None:
        return logits, jnp.zeros((len(logits), 1), logits.dtype)
    (features,) = as_rows("features", features)
    return logits, features
