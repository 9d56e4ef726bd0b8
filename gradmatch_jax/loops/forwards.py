"""The `forward` that `Selector` wants, of models in JAX: Flax NNX, Linen, or two functions.

Each takes the training inputs once and answers for all of them or for some, in batches and in
evaluation mode. Features are what enters the last linear layer.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jaxtyping import Array

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike
from gradmatch_jax.inputs.labels import as_rows_of
from gradmatch_jax.inputs.values import as_count, as_name, short

# (logits, features) of a batch, of any array library.
Pass = tuple[Any, Any]


def split_forward(
    body: Callable[[Any], Any], head: Callable[[Any], Any], inputs: Any, *, batch_size: int = 256
) -> Callable[..., Pass]:
    """Of a model in two functions of a batch: inputs to features, features to logits.

    Args:
        body: called with a batch of inputs; of Equinox, `jax.vmap(model.body)` under
            `eqx.filter_jit`. What is to be fast is jitted by you, and what changes in training is
            looked up when it is called.
        head: called with the features.
        inputs: of all training examples, an array or a tree of arrays with n rows each.
        batch_size: of the pass.

    Returns:
        A function of no rows or some -> (logits, features).

    Raises:
        UserError: inputs without rows.

    Example:
        >>> forward = split_forward(lambda x: x + 1.0, lambda h: 2 * h, np.zeros((5, 3)))
        >>> [x.shape for x in forward()], forward([4, 0])[0].tolist()[0]
        ([(5, 3), (5, 3)], [2.0, 2.0, 2.0])
    """

    def both(batch: Any) -> Pass:
        features = body(batch)
        return head(features), features

    return _in_batches(both, inputs, batch_size)


def nnx_forward(
    model: nnx.Module, head: nnx.Module, inputs: Any, *, batch_size: int = 256
) -> Callable[..., Pass]:
    """Of a Flax NNX module, as it is when a selection is due.

    The pass runs on a copy in evaluation mode, in which `head` notes what enters and leaves it: the
    module itself is not touched.

    Args:
        model: called as model(batch).
        head: its last linear layer, `model.head` say.
        inputs: of all training examples, an array or a tree of arrays with n rows each.
        batch_size: of the pass.

    Returns:
        A function of no rows or some -> (logits, features).

    Raises:
        UserError: `head` is no part of the model, or does not run just once.

    Example:
        >>> class Net(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.body, self.head = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        ...     def __call__(self, x):
        ...         return jax.nn.softmax(self.head(nnx.relu(self.body(x))))
        >>> model = Net(nnx.Rngs(0))
        >>> [x.shape for x in nnx_forward(model, model.head, np.zeros((5, 3), np.float32))()]
        [(5, 2), (5, 4)]
    """
    found = [path for path, part in nnx.iter_graph(model) if part is head and path]
    if not found or not isinstance(head, nnx.Module):
        raise UserError("head is no part of the model; pass its last linear layer, as model.head")
    *way, name = found[0]

    @jax.jit
    def run(graph_and_state: Any, batch: Any) -> Pass:
        copy: Any = nnx.merge(*graph_and_state)
        copy.eval()
        owner: Any = copy
        for part in way:
            owner = owner[part] if isinstance(part, int) else getattr(owner, str(part))
        calls: list[Pass] = []
        layer = owner[name] if isinstance(name, int) else getattr(owner, str(name))

        def noted(features: Array) -> Array:
            logits = layer(features)
            calls.append((logits, features))
            return logits

        if isinstance(name, int):
            owner[name] = noted
        else:
            object.__setattr__(owner, str(name), noted)
        answer = copy(batch)
        return _last(answer, _one(calls))

    return _in_batches(lambda batch: run(nnx.split(model), batch), inputs, batch_size)


def linen_forward(
    module: linen.Module,
    head: str,
    variables: Callable[[], Any] | Any,
    inputs: Any,
    *,
    batch_size: int = 256,
    **arguments: Any,
) -> Callable[..., Pass]:
    """Of a Flax Linen module, whose layer `head` is intercepted: the module is as it was written.

    Args:
        module: applied as module.apply(variables, batch, **arguments).
        head: the name of its last linear layer, as its parameters have it ("Dense_1", "head"), with
            those it is in where it lies deeper ("top/Dense_0").
        variables: () -> the variables when a selection is due: `lambda: {"params": state.params}`.
        inputs: of all training examples, an array or a tree of arrays with n rows each.
        batch_size: of the pass.
        **arguments: of the module in evaluation mode, as `train=False`.

    Returns:
        A function of no rows or some -> (logits, features).

    Raises:
        UserError: no layer of that name runs just once.

    Example:
        >>> class Net(linen.Module):
        ...     @linen.compact
        ...     def __call__(self, x):
        ...         return linen.Dense(2, name="head")(linen.relu(linen.Dense(4)(x)))
        >>> x = np.zeros((5, 3), np.float32)
        >>> variables = Net().init(jax.random.key(0), x)
        >>> [y.shape for y in linen_forward(Net(), "head", lambda: variables, x)()]
        [(5, 2), (5, 4)]
    """
    if not callable(variables):
        raise UserError(f"variables must be a function, () -> variables, not {short(variables)}")
    wanted = tuple(as_name("head", head).split("/"))

    @jax.jit
    def run(given: Any, batch: Any) -> Pass:
        calls: list[Pass] = []

        def note(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
            output = function(*args, **kwargs)
            if context.module.path == wanted and context.method_name == "__call__":
                calls.append((output, args[0]))
            return output

        with linen.intercept_methods(note):
            answer = module.apply(given, batch, **arguments)
        return _last(answer, _one(calls, head))

    return _in_batches(lambda batch: run(variables(), batch), inputs, batch_size)


def _one(calls: list[Pass], name: str = "head") -> Pass:
    if len(calls) != 1:
        raise UserError(
            f"{name} ran {len(calls)} times in a forward pass; pass the last linear layer, which "
            "runs once"
        )
    return calls[0]


def _last(answer: Any, call: Pass) -> Pass:
    """`call`: the model is as wide as its head; what keeps the width, a softmax say, may follow."""
    wide, logits = np.shape(answer) if hasattr(answer, "shape") else (), np.shape(call[0])
    if len(wide) == 2 and wide != logits:
        raise UserError(
            f"head gives {logits[-1]} numbers an example and the model {wide[1]}: it is no last "
            "layer; pass the one whose outputs are the logits"
        )
    return call


def _in_batches(run: Callable[[Any], Pass], inputs: Any, batch_size: int) -> Callable[..., Pass]:
    """`run` over all inputs or some rows of them; one shape of batch, so one compilation."""
    leaves = jax.tree.leaves(inputs)
    if not leaves or any(np.ndim(leaf) == 0 for leaf in leaves) or len(leaves[0]) == 0:
        raise UserError("inputs must be arrays of n rows, one a training example")
    n = len(leaves[0])
    if other := [len(leaf) for leaf in leaves if len(leaf) != n]:
        raise UserError(f"inputs have {n} rows and {other[0]}; pass one a training example in each")
    size = min(as_count("batch_size", batch_size, least=1), n)

    def forward(rows: ArrayLike | None = None) -> Pass:
        wanted = np.arange(n) if rows is None else as_rows_of("rows", rows, n)
        # The last batch wraps to the first rows: its shape is the others'.
        count = max(1, -(-len(wanted) // size)) * size
        order = np.resize(wanted if len(wanted) else np.zeros(1, int), count)
        parts = [
            run(jax.tree.map(lambda x, part=part: x[part], inputs))
            for part in order.reshape(-1, size)
        ]
        logits, features = (jnp.concatenate(x)[: len(wanted)] for x in zip(*parts, strict=True))
        return logits, features

    return forward
