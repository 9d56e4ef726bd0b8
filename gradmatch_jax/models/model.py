"""What the training driver knows of a model: two pure functions, and an adapter for Flax NNX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped


class Variables(NamedTuple):
    """What a model owns: `params` are trained, `stats` are carried along.

    `stats` holds batch-norm running statistics (and any other state, such as dropout's keys); it
    is an empty pytree for a model without.
    """

    params: PyTree
    stats: PyTree


@runtime_checkable
class Init(Protocol):
    """key -> variables."""

    def __call__(self, key: Key[Array, ""], /) -> Variables:
        """What the model owns; it depends on nothing but the key."""
        ...


@runtime_checkable
class Apply(Protocol):
    """(variables, inputs, train) -> (logits, features, stats)."""

    def __call__(
        self, variables: Variables, inputs: Shaped[Array, "b ..."], train: bool, /
    ) -> tuple[Float[Array, "b classes"], Float[Array, "b features"], PyTree]:
        """Pure; `train` is a Python bool, static under `jax.jit`."""
        ...


class Model(NamedTuple):
    """A classifier h -> logits as two pure functions; any pair that fits will do.

    `init(key)` gives the `Variables` and depends on nothing but the key.

    `apply(variables, inputs, train)` maps inputs (b, ...), as the data set prepares them (images
    (b, h, w, c), rows (b, d), token ids (b, length)), to logits (b, classes), features (b, E) and
    the new stats. `train` is a Python bool, static under `jax.jit`. With `train=False`
    the stats come back unchanged and each row's answer depends on that row alone. The features are
    what enters the last linear layer,

        logits = features @ W + b,

    because a last-layer gradient is (softmax(logits) - onehot(y)) ⊗ [1, features]
    (GRAD-MATCH, section 4). Logits and features are float32.

    Example:
        In plain JAX:

        >>> import jax, jax.numpy as jnp
        >>> def init(key):
        ...     hidden, head = jax.random.split(key)
        ...     params = {"hidden": 0.1 * jax.random.normal(hidden, (64, 32)),
        ...               "W": 0.1 * jax.random.normal(head, (32, 10)), "b": jnp.zeros(10)}
        ...     return Variables(params, stats={})
        >>> def apply(variables, images, train):
        ...     p = variables.params
        ...     features = jax.nn.relu(images.reshape(images.shape[0], -1) @ p["hidden"])
        ...     return features @ p["W"] + p["b"][None], features, variables.stats
        >>> model = Model("mine", init, apply)
        >>> images = jnp.ones((2, 8, 8, 1))
        >>> logits, features, _ = model.apply(model.init(jax.random.key(0)), images, True)
        >>> logits.shape, features.shape
        ((2, 10), (2, 32))
    """

    name: str
    init: Init
    apply: Apply


def from_nnx(name: str, constructor: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """A `Model` from a Flax NNX module whose `__call__(inputs)` returns (logits, features).

    `params` are the module's `nnx.Param`s and `stats` all its other variables, both as nested
    dictionaries of arrays with string keys, so that nothing downstream sees Flax. Train and
    evaluation mode are `module.train()` and `module.eval()`, which batch-norm and dropout heed.
    Splitting and merging happen in traced code only: under `jax.jit` they cost nothing a step.

    Args:
        name: what to call it in messages and results.
        constructor: makes the module from its random streams.

    Returns:
        The model as two pure functions.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> class Net(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.body, self.head = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        ...     def __call__(self, x):
        ...         features = nnx.relu(self.body(x))
        ...         return self.head(features), features
        >>> model = from_nnx("mine", Net)
        >>> variables = model.init(jax.random.key(0))
        >>> [x.shape for x in model.apply(variables, jnp.ones((2, 4)), True)[:2]]
        [(2, 3), (2, 8)]
    """

    @functools.cache
    def skeleton():
        # Shapes only; building it late keeps `from_nnx` free and its cost out of the step.
        return nnx.split(nnx.eval_shape(lambda: constructor(nnx.Rngs(0))), nnx.Param, ...)

    # Not jitted: layer by layer it compiles once a shape, as one program once a layer (minutes for
    # a ResNet-164).
    def init(key: Key[Array, ""]) -> Variables:
        _, params, stats = nnx.split(constructor(nnx.Rngs(key)), nnx.Param, ...)
        return Variables(_to_dict(params), _to_dict(stats))

    def apply(variables: Variables, inputs: Shaped[Array, "b ..."], train: bool):
        graph, params, stats = skeleton()
        module: Any = nnx.merge(
            graph, _from_dict(params, variables.params), _from_dict(stats, variables.stats)
        )
        if train:
            module.train()
        else:
            module.eval()
        logits, features = module(inputs)
        if not train:
            return logits, features, variables.stats
        _, _, stats = nnx.split(module, nnx.Param, ...)
        return logits, features, _to_dict(stats)

    return Model(name, init, apply)


def _to_dict(state: nnx.State) -> dict[str, Any]:
    """Nested dict of arrays; list positions become strings, which checkpoints keep as they are."""

    def strings(node):
        return {str(k): strings(v) for k, v in node.items()} if isinstance(node, dict) else node

    return strings(nnx.to_pure_dict(state))


def _from_dict(template: nnx.State, arrays: dict[str, Any]) -> nnx.State:
    """The inverse of `_to_dict`: `template`'s variables with the values of `arrays`."""

    def value(path, variable):
        return variable.replace(functools.reduce(lambda node, k: node[str(k)], path, arrays))

    return nnx.map_state(value, template)
