"""Mini-batches as atoms: what GRAD-MATCHPB and CRAIGPB share."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.inputs.arrays import AnyArray
from gradmatch_jax.selection.groups import bucket, slots_for
from gradmatch_jax.selection.padding import are_few, with_classes, with_rows
from gradmatch_jax.selection.result import compact
from gradmatch_jax.selection.spread import mesh_of, own_rows, padded, sum_over_blocks, up_to


class Drawn(NamedTuple):
    """Shuffled examples in batches, of sizes that other numbers of examples share."""

    gradients: LastLayerGradients  # rows of zeros behind: in no batch, and classes
    target: Float[Array, "C D"] | None  # to match; None for the sum of all
    batches: Int[Array, "b size"]  # padded with -1, whole rows of it behind
    real: Bool[Array, "n"]  # the examples' own rows
    wanted: Int[Array, ""]  # the budget: an array, so that another one compiles nothing


def draw_batches(
    gradients: LastLayerGradients,
    key: PRNGKeyArray,
    budget: int,
    batch_size: int,
    target: Float[Array, "C D"] | None = None,
) -> tuple[Drawn, int]:
    """The batches that `budget` examples are taken from, and slots for those that hold it.

    There are enough of the latter where all batches are of the smaller size. Few examples are
    filled up: other numbers of them, and of classes, compile no solver anew.
    """
    n = gradients.features.shape[0]
    count = batch_count(n, batch_size)
    picks, room = min(count, -(-budget // (n // count))), count
    batches = even_batches(key, n, batch_size)
    if are_few(gradients, batches) and mesh_of(gradients) is None:
        filled, target = with_classes(with_rows(gradients, bucket(n) - n), target)
        assert isinstance(filled, LastLayerGradients)
        gradients = filled
        if target is not None:
            target = target.reshape(gradients.residuals.shape[1], -1)
        room, width = bucket(count), batches.shape[1]
        # Of batch_size or one more where there are several; all of them where there is one.
        more = room - count, bucket(max(width, min(batch_size + 1, bucket(n)))) - width
        batches = jnp.pad(batches, [(0, size) for size in more], constant_values=-1)
    real = jnp.arange(gradients.features.shape[0]) < n
    wanted = jnp.asarray(budget, jnp.int32)
    return Drawn(gradients, target, batches, real, wanted), slots_for(picks, room)


def batch_count(n: int, batch_size: int) -> int:
    """How many even batches of about `batch_size` n examples make."""
    return max(1, round(n / batch_size))


def to_members(
    batches: Int[Array, "b size"],
    support: Int[Array, "p"],
    weights: Float[Array, "p"],
    budget: Int[Array, ""],
) -> tuple[Int[Array, "room"], Float[Array, "room"]]:
    """The examples of the chosen batches, at most `budget`, each with its share of the weight.

    A batch's members have its weight in equal shares, so that sum_i w_i g_i is the weighted sum of
    the batch means. One batch is cut to meet the budget, the lightest of those that something is
    left of; what is left shares its weight.
    """
    order = jnp.argsort(-jnp.abs(weights), stable=True)
    support, weights = support[order], weights[order]
    sizes = jnp.where(support >= 0, sizes_of(batches)[support], 0)
    place = jnp.arange(support.shape[0], dtype=jnp.int32)
    over = jnp.sum(sizes, dtype=jnp.int32) - budget
    last = jnp.max(jnp.where(sizes > over, place, -1))
    order = jnp.argsort(jnp.where(place == last, support.shape[0], place), stable=True)
    support, weights = support[order], weights[order]
    members = jnp.where((support >= 0)[:, None], batches[support], -1)
    rank = jnp.cumsum(members.reshape(-1) >= 0, dtype=jnp.int32).reshape(members.shape)
    members = jnp.where(rank <= budget, members, -1)
    sizes = jnp.sum(members >= 0, axis=1, keepdims=True)
    shared = jnp.where(
        members >= 0, weights[:, None] / jnp.maximum(sizes, 1).astype(weights.dtype), 0.0
    )
    return compact(members, shared, members.size)


@partial(jax.jit, static_argnames=("n", "batch_size"))
def even_batches(key: PRNGKeyArray, n: int, batch_size: int) -> Int[Array, "b size"]:
    """Shuffle n examples into round(n / batch_size) batches whose sizes differ by at most one.

    Padded with -1. No ragged last batch: every batch's mean then has the same noise.
    """
    count = batch_count(n, batch_size)
    width = -(-n // count)
    long = n - (width - 1) * count  # batches of `width`; the others have one less
    order = jax.random.permutation(key, n).astype(jnp.int32)
    full = order[: long * width].reshape(long, width)
    rest = order[long * width :].reshape(count - long, width - 1)
    rest = jnp.pad(rest, ((0, 0), (0, 1)), constant_values=-1)
    return jnp.concatenate([full, rest])


def sizes_of(batches: Int[AnyArray, "b size"]) -> Int[Array, "b"]:
    """How many members each batch has."""
    return jnp.sum(batches >= 0, axis=1, dtype=jnp.int32)


def batch_gram(
    gradients: LastLayerGradients,
    batches: Int[AnyArray, "b size"],
    target: Float[AnyArray, "C D"],
    *,
    centred: bool = False,
    block_bytes: int = 2**28,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "b b"], Float[Array, "b"]]:
    """Gram matrix and correlations of mini-batch mean gradients (GRAD-MATCHPB's atoms).

    The b x C(1+E) matrix of means is built over blocks of the class axis of at most `block_bytes`
    and folded into the Gram matrix, so it never has to fit as a whole. `batches` is padded with -1.
    centred: of the means less their own mean, which leaves distances as they are and precise.
    mesh: the devices that the classes are spread over; the features go round.
    """
    residuals, features = gradients
    target = jnp.asarray(target, features.dtype)
    over = partial(_gram_over, batches, centred=centred, block_bytes=block_bytes)
    if mesh is None:
        return over(residuals, features, target, bias=True)
    # Before a column more: XLA would bring all of what is split by columns to add it.
    residuals, features = own_rows((residuals, features), mesh)
    ones = jnp.ones((features.shape[0], 1), features.dtype)
    columns = jnp.concatenate([ones, features], axis=1)
    shape = [up_to(size, mesh) for size in target.shape]
    target = padded(padded(target, shape[0]), shape[1], axis=1)

    def add(residuals, columns, i, j):
        share = residuals.shape[1], columns.shape[1]
        part = lax.dynamic_slice(target, (i * share[0], j * share[1]), share)
        return over(residuals, columns, part, bias=False)

    return sum_over_blocks(add, residuals, columns, mesh)


def _gram_over(
    batches: Int[AnyArray, "b size"],
    residuals: Float[Array, "n C"],
    features: Float[Array, "n E"],
    target: Float[Array, "C D"],
    *,
    centred: bool,
    block_bytes: int,
    bias: bool,
) -> tuple[Float[Array, "b b"], Float[Array, "b"]]:
    """`batch_gram` over these classes and features; bias: whether its column is one more."""
    b, classes, width = batches.shape[0], residuals.shape[1], features.shape[1] + bias
    in_batch = batches >= 0
    share = in_batch.astype(features.dtype)
    share = share / jnp.maximum(jnp.sum(share, axis=1, keepdims=True), 1)
    block = max(1, min(classes, block_bytes // (4 * b * width)))
    count = -(-classes // block)
    padding = count * block - classes  # classes with zero residuals add nothing
    residuals = jnp.pad(residuals, ((0, 0), (0, padding))).reshape(-1, count, block)
    targets = jnp.pad(target, ((0, padding), (0, 0))).reshape(count, block, width)
    batch_features = features[batches]

    def add(carry, part):
        gram_sum, correlation_sum = carry
        index, target_block = part
        rows = residuals[batches, index]
        means = gr.weighted_sum(LastLayerGradients(rows, batch_features), share)
        flat = means[..., 0 if bias else 1 :].reshape(b, -1)
        flat = _centred(flat, in_batch) if centred else flat
        gram_sum += gr.gram(flat)
        correlation_sum += gr.correlations(flat, target_block.reshape(-1))
        return (gram_sum, correlation_sum), None

    start = (jnp.zeros((b, b), features.dtype), jnp.zeros(b, features.dtype))
    total, _ = lax.scan(add, start, (jnp.arange(count), targets))
    return total


def _centred(means: Float[Array, "b d"], in_batch: Bool[AnyArray, "b size"]) -> Float[Array, "b d"]:
    """The means less their own mean; those of no members are 0 and stay so."""
    real = jnp.any(in_batch, axis=1, keepdims=True)
    mean = jnp.sum(means, axis=0, keepdims=True) / jnp.sum(real).astype(means.dtype)
    return jnp.where(real, means - mean, 0.0)


def sum_of(gradients: LastLayerGradients, mesh: Mesh | None) -> Float[Array, "C D"]:
    """The sum of all n gradients."""
    n, dtype = gradients.features.shape[0], gradients.features.dtype
    return gr.weighted_sum(own_rows(gradients, mesh), own_rows(jnp.ones(n, dtype), mesh))


def error_of(
    gradients: LastLayerGradients,
    indices: Int[Array, "k"],
    weights: Float[Array, "k"],
    target: Float[Array, "C D"],
    mesh: Mesh | None,
) -> Float[Array, ""]:
    """`matching_error`; over several devices the examples stay where they lie."""
    if mesh is None:
        return gr.matching_error(gradients, indices, weights, target)
    n = gradients.features.shape[0]
    each = (
        jnp.zeros(n, weights.dtype)
        .at[jnp.where(indices >= 0, indices, n)]
        .add(weights, mode="drop")
    )
    found = gr.weighted_sum(own_rows(gradients, mesh), own_rows(each, mesh))
    scale = jnp.linalg.norm(target)
    return jnp.linalg.norm(found - target) / jnp.where(scale > 0, scale, 1)
