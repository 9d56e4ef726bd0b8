"""Large groups in calls of one program, on as many threads as there are cores.

Inside one program XLA runs the groups of a CPU one after another, and of a pursuit's small kernels
a second core makes little. Calls of a compiled program from threads run beside each other, and one
that is given the rows of a few groups serves any number of groups, of any number of examples.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array, Int

from gradmatch_jax.inputs.arrays import AnyArray
from gradmatch_jax.measure.versions import cores
from gradmatch_jax.selection.groups import Groups
from gradmatch_jax.selection.padding import are_few

LARGEST = 2**28  # numbers that the problems in work may take together


def in_rounds(mesh: Mesh | None, gradients: Any, groups: Groups, *others: Any) -> bool:
    """Whether groups are solved so: several, of many examples, on a CPU's cores, outside `jit`.

    Few are one program with what joins their answers, which takes less to start; so are any on a
    single core, where calls take a tenth longer.
    """
    traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((gradients, groups, others)))
    uncompiled = jax.config.jax_disable_jit  # pyright: ignore[reportAttributeAccessIssue]
    if traced or uncompiled or mesh is not None:
        return False
    on_cores = jax.default_backend() == "cpu" and cores() > 1
    return on_cores and len(groups.members) > 1 and not are_few(gradients, groups)


@jax.jit
def _taken(members: Int[Array, "g m"], rows: Any) -> Any:
    return jax.tree.map(lambda x: x[members], rows)


def map_rounds(
    program: Any,
    groups: Groups,
    at_once: int,
    size: int,
    rows: Any,
    targets: Any = None,
    options: tuple = (),
    **static: Any,
) -> Any:
    """`program(members, (budgets, targets), their rows, *options)` of a few groups a call.

    The last call is filled up with empty groups of budget 0. Compiled here and called there: a
    thread knows nothing of this one's `jax.enable_x64`.

    Args:
        program: jitted.
        groups: of the examples.
        at_once: how many share a call, at most: there is one for each core.
        size: numbers that a call works on.
        rows: arrays with a row an example; past a group's members they are any.
        targets: arrays with a row a group: its target, where it is not its own, and what else.
        options: what every call is given.
        static: the program's static arguments.

    Returns:
        The answers on the host, stacked as `lax.map` stacks them.
    """
    calls = _calls(groups, targets, min(at_once, -(-len(groups.members) // cores())))
    options = jax.tree.map(jnp.asarray, options)
    first, each = calls[0]
    taking = _taken.lower(first, rows).compile()
    solving = program.lower(first, each, taking(first, rows), *options, **static).compile()

    def solved(call: Any) -> Any:
        members, each = call
        return jax.tree.map(np.asarray, solving(members, each, taking(members, rows), *options))

    workers = max(1, min(cores(), len(calls), LARGEST // size))
    pool = ThreadPoolExecutor(workers)
    try:
        made = list(pool.map(solved, calls))
    finally:
        pool.shutdown(cancel_futures=True)
    return jax.tree.map(lambda *x: np.stack(x), *made)


def _calls(groups: Groups, targets: Any, at_once: int) -> list[Any]:
    """Members, and budgets and targets, of `at_once` groups each; of the last some are empty."""
    rounds = -(-len(groups.members) // at_once)
    more = rounds * at_once - len(groups.members)

    def parts(x: AnyArray, fill: int = 0) -> np.ndarray:
        own = np.asarray(x)
        if more:
            own = np.pad(own, ((0, more), *((0, 0),) * (x.ndim - 1)), constant_values=fill)
        return own.reshape(rounds, at_once, *x.shape[1:])

    stacked = parts(groups.members, -1), jax.tree.map(parts, (groups.budgets, targets))
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(rounds)]
