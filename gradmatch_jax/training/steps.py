"""The jitted steps: a weighted SGD step, an epoch of them, and passes over the data."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax.data import Dataset, Prepare
from gradmatch_jax.data.prepare import apart, together
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.strategies.strategy import Recorded, record_nothing
from gradmatch_jax.training.placement import ONE, Placement
from gradmatch_jax.training.schedule import Optimizer


class Learner(NamedTuple):
    """What SGD changes."""

    variables: Variables
    momentum: Any  # the optimiser's state


class Outcome(NamedTuple):
    """What a step saw of its mini-batch, before it changed the learner."""

    loss: Float[Array, ""]  # what was minimised: the mean of w_i l_i
    recorded: Recorded  # what the strategy remembers of each example


class Steps(NamedTuple):
    """The functions a run is made of; all jitted, the learner donated where it is changed."""

    init: Callable[[PRNGKeyArray], Learner]
    train: Callable[..., tuple[Learner, Outcome]]
    train_many: Callable[..., tuple[Learner, Outcome]]
    predict: Callable[..., tuple[Array, Array]]
    gradient_norms: Callable[..., Array]


def weighted_loss(
    logits: Float[Array, "b C"], labels: Int[Array, "b"], weights: Float[Array, "b"]
) -> Float[Array, ""]:
    """Mean of w_i l_i over the mini-batch, l_i the softmax cross-entropy.

    Not divided by the batch's own weights: that would cancel weights that a batch shares.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(weights * losses)


def make_steps(
    model: Model,
    dataset: Dataset,
    *,
    momentum: float,
    weight_decay: float,
    augmented: bool,
    record: Callable[..., Recorded] = record_nothing,
    optimizer: Optimizer = "sgd",
    place: Placement = ONE,
) -> Steps:
    """Compile-ready steps for a model on a data set.

    SGD is PyTorch's: v <- momentum v + (g + weight_decay p), p <- p - lr v (paper, A.3.2). AdamW
    (Loshchilov & Hutter 2019) is p <- p - lr (m / (sqrt(v) + 1e-8) + weight_decay p), with Adam's
    bias-corrected means m of g (0.9) and v of g² (0.999): weight decay apart from the gradient.
    The same arguments give the same steps, so that a second run compiles nothing.

    Args:
        model: what is trained.
        dataset: says how its raw inputs become the model's.
        momentum: of SGD; AdamW has none.
        weight_decay: on every parameter.
        augmented: whether training inputs are augmented.
        record: what a step remembers of each example, see `Strategy.record`.
        optimizer: by name.
        place: of the devices; what a step gives comes whole to each of them, a pass by its rows.
    """
    return steps_of(
        model, dataset.prepare, momentum, weight_decay, augmented, record, optimizer, place
    )


@functools.lru_cache(maxsize=8)
def steps_of(
    model: Model,
    prepare: Prepare,
    momentum: float,
    weight_decay: float,
    augmented: bool,
    record: Callable[..., Recorded],
    optimizer: Optimizer = "sgd",
    place: Placement = ONE,
) -> Steps:
    """`make_steps` for inputs that are prepared so, whatever data set they are of.

    The mean and scale of a split are handed to the programs, not compiled into them: every seed has
    a split of its own.
    """
    bare, numbers = apart(prepare)
    numbers = place.replicate(jax.tree.map(jnp.asarray, numbers))
    made = _programs(model, bare, momentum, weight_decay, augmented, record, optimizer, place)
    return Steps(
        init=made.init,
        train=functools.partial(made.train, numbers),
        train_many=functools.partial(made.train_many, numbers),
        predict=lambda variables, raw, count: made.predict((numbers, variables), raw, count),
        gradient_norms=functools.partial(made.gradient_norms, numbers),
    )


@functools.lru_cache(maxsize=8)
def _programs(
    model: Model,
    bare: Prepare,
    momentum: float,
    weight_decay: float,
    augmented: bool,
    record: Callable[..., Recorded],
    optimizer: Optimizer,
    place: Placement,
) -> Steps:
    """The steps with the numbers of `bare` as their first argument."""
    decay = optax.add_decayed_weights(weight_decay)
    if optimizer == "adamw":
        optimiser = optax.chain(optax.scale_by_adam(), decay)
    else:
        optimiser = optax.chain(decay, optax.trace(momentum))

    def init(key) -> Learner:
        variables = model.init(key)
        return Learner(variables, optimiser.init(variables.params))

    def step(numbers, learner: Learner, pool, labels, rows, weights, lr, key, i):
        raw = pool if rows is None else pool[rows]
        inputs = together(bare, numbers)(jax.random.fold_in(key, i) if augmented else None, raw)

        def loss(params):
            variables = Variables(params, learner.variables.stats)
            logits, features, stats = model.apply(variables, inputs, True)
            mean = weighted_loss(logits, labels, weights)
            return mean, (Outcome(mean, record(logits, features, labels)), stats)

        params = learner.variables.params
        (_, (outcome, stats)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        direction, state = optimiser.update(grads, learner.momentum, params)
        params = jax.tree.map(lambda p, d: p - lr * d, params, direction)
        return Learner(Variables(params, stats), state), outcome

    def many(numbers, learner: Learner, pool, labels, rows, weights, lr, key, start, count):
        """Steps `start` on in one call: rows and weights (steps, b), labels are of the pool.

        The first `count` of them, an array, so that another number compiles nothing, and what is
        behind is 0; None is all, which XLA then knows of.
        """

        traced = jax.jit(step)  # once, for its shapes and in the loop

        def at(i, learner):
            row, weight = rows[i], weights[i]
            i = start + jnp.asarray(i, start.dtype)
            return traced(numbers, learner, pool, labels[row], row, weight, lr, key, i)

        def one(i, carry):
            learner, outcome = at(i, carry[0])
            return learner, jax.tree.map(lambda x, y: x.at[i].set(y), carry[1], outcome)

        shapes = jax.eval_shape(at, 0, learner)[1]
        outcomes = jax.tree.map(lambda x: jnp.zeros((len(rows), *x.shape), x.dtype), shapes)
        total = len(rows) if count is None else count
        return jax.lax.fori_loop(0, total, one, (learner, outcomes))

    def predict(known, raw, count):
        """Logits and features (s b, ...) of the first `count` of `raw`'s s batches, 0 behind.

        The batches are one loop in one call, so that they can be as small as a CPU's caches like
        them. `count` is an array: what is left over at the end of a set costs what it is and
        compiles nothing.
        """
        numbers, variables = known
        prepare = together(bare, numbers)

        def forward(batch):
            logits, features, _ = model.apply(variables, prepare(None, batch), False)
            return logits, features

        def one(i, outputs):
            made = forward(raw[i])
            return tuple(x.at[i].set(y) for x, y in zip(outputs, made, strict=True))

        shapes = jax.eval_shape(forward, raw[0])
        outputs = tuple(jnp.zeros((len(raw), *x.shape), x.dtype) for x in shapes)
        outputs = jax.lax.fori_loop(0, count, one, outputs)
        return tuple(x.reshape(-1, x.shape[-1]) for x in outputs)

    def gradient_norms(numbers, variables: Variables, pool, labels, rows):
        """‖dl_i/dtheta‖ of each row over all parameters, in evaluation mode, by vmap(grad)."""

        def loss(params, one, label):
            inputs = together(bare, numbers)(None, one[None])
            logits, _, _ = model.apply(Variables(params, variables.stats), inputs, False)
            return optax.softmax_cross_entropy_with_integer_labels(logits, label[None])[0]

        raw = pool if rows is None else pool[rows]
        each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
        grads = jax.tree.leaves(each(variables.params, raw, labels))
        return jnp.sqrt(sum(jnp.sum(g.reshape(len(raw), -1) ** 2, axis=1) for g in grads))

    return Steps(
        init=init,
        train=jax.jit(step, donate_argnums=1, **place.outputs),
        train_many=jax.jit(many, donate_argnums=1, **place.outputs),
        predict=place.by_rows(predict),
        gradient_norms=jax.jit(gradient_norms, **place.outputs),
    )
