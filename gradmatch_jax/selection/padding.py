"""Examples, groups and classes filled up to sizes that others share: they compile nothing anew.

What is added is zeros, members of no group: the problems are the same.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array

from gradmatch_jax.gradients import Atoms, LastLayerGradients
from gradmatch_jax.selection.groups import Groups, bucket, rows_for

MUCH = 2**24  # bytes: of more, two empty groups beside ten cost a sixth of a selection


def are_few(gradients: Atoms, beside: Any) -> bool:
    """Whether they, and the arrays beside them, are to be filled up: neither in jit nor above
    `MUCH`."""
    leaves = jax.tree.leaves((gradients, beside))
    traced = any(isinstance(leaf, Tracer) for leaf in leaves)
    return not traced and sum(leaf.nbytes for leaf in leaves) <= MUCH


def filled_up(gradients: Atoms, groups: Groups, mesh: Mesh | None) -> tuple[Any, Groups]:
    """Gradients of more examples, in more groups of more members.

    On several devices more members alone, for sums over them that are rounded as on one.
    """
    n = jax.tree.leaves(gradients)[0].shape[0]
    g, m = rows_for(*groups.members.shape)
    if mesh is not None:
        return gradients, groups.padded(groups.members.shape[0], m)
    more = bucket(n) - n
    groups = dataclasses.replace(groups, group_of=with_rows(groups.group_of, more))
    return with_rows(gradients, more), groups.padded(g, m)


def with_rows(tree: Any, more: int) -> Any:
    """The leaves with `more` rows of zeros behind."""
    if more == 0:
        return tree
    return jax.tree.map(lambda x: jnp.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1)), tree)


def with_classes(gradients: Atoms, target: Array | None = None) -> tuple[Atoms, Array | None]:
    """Factored gradients, and targets (.., C (1 + E)) of them, with more classes.

    Dense ones as they are.
    """
    if not isinstance(gradients, LastLayerGradients):
        return gradients, target
    classes, width = gradients.residuals.shape[1], gradients.features.shape[1] + 1
    more = rows_for(classes, 1)[0] - classes
    if more == 0:
        return gradients, target
    residuals = jnp.pad(gradients.residuals, ((0, 0), (0, more)))
    if target is not None:
        target = jnp.pad(target.reshape(-1, classes, width), ((0, 0), (0, more), (0, 0)))
    return gradients._replace(residuals=residuals), target
