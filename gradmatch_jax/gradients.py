"""Last-layer gradients in factored form, and the Gram quantities made of them.

The gradient of an example's loss with respect to the last layer (weights W, bias b; logits
z = h W + b) is an outer product, whatever the loss:

    g_i = delta_i ⊗ [1, h_i],    delta_i = dl/dz (z_i, y_i)

(paper, appendix A.2.1, "Last-layer gradients"). Its two factors cost n(C + E) numbers where the
gradients themselves cost n C(E+1), and they are all that is needed:

    <g_i, g_j> = <delta_i, delta_j> (1 + <h_i, h_j>)

so nothing here ever builds the n x C(E+1) matrix. Gradient sums ("targets") have C(E+1) numbers
and are kept as (C, D) arrays, D = 1 + E, the bias in column 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

# Full float32 products: the tensor-core default (tf32) loses the small differences OMP lives on.
_HIGHEST = lax.Precision.HIGHEST


# Host arrays do wherever device arrays do, and labels of any integer type: MNIST's own are uint8.
AnyArray = Array | np.ndarray


class LastLayerGradients(NamedTuple):
    """Per-example last-layer gradients residuals_i ⊗ [1, features_i], one atom a row."""

    residuals: Float[AnyArray, "*batch n C"]  # dl/dz
    features: Float[AnyArray, "*batch n E"]  # what enters the last layer


# The atoms of a matching problem: factored gradients, or any dense (n, d) array.
Atoms = LastLayerGradients | Float[AnyArray, "*batch n d"]


def last_layer_gradients(
    logits: Float[AnyArray, "n C"],
    features: Float[AnyArray, "n E"],
    labels: Integer[AnyArray, "n"],
    loss: Callable[[Float[Array, "C"], Integer[Array, ""]], Float[Array, ""]] | None = None,
) -> LastLayerGradients:
    """Last-layer gradients of each example's loss.

    loss: a per-example loss of (logits, label), differentiated by `vmap(grad)`. None is softmax
      cross-entropy in closed form, residuals = softmax(logits) - onehot(labels).
    """
    if loss is not None:
        return LastLayerGradients(jax.vmap(jax.grad(loss))(logits, labels), features)
    onehot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return LastLayerGradients(jax.nn.softmax(logits) - onehot, features)


def gradients_by_definition(
    loss: Callable[[Float[Array, "C"], Integer[Array, ""]], Float[Array, ""]],
    kernel: Float[AnyArray, "E C"],
    bias: Float[AnyArray, "C"],
    features: Float[AnyArray, "n E"],
    labels: Integer[AnyArray, "n"],
) -> Float[Array, "n C*(1+E)"]:
    """The definition: `vmap(grad)` of each example's loss in the last layer's own parameters.

    Dense, so for small problems and for checking the factored form; rows are laid out as
    `densify` lays them out.
    """

    def example(head, h, y):
        kernel, bias = head
        return loss(h @ kernel + bias, y)

    d_kernel, d_bias = jax.vmap(jax.grad(example), in_axes=(None, 0, 0))(
        (kernel, bias), features, labels
    )
    per_class = jnp.concatenate([d_bias[:, :, None], jnp.swapaxes(d_kernel, 1, 2)], axis=2)
    return per_class.reshape(features.shape[0], -1)


def densify(gradients: LastLayerGradients) -> Float[Array, "n d"]:
    """The dense gradients, d = C(1+E): (class, [bias, features]). For small problems only."""
    residuals, features = map(jnp.asarray, gradients)
    extended = jnp.concatenate([jnp.ones_like(features[:, :1]), features], axis=1)
    return (residuals[:, :, None] * extended[:, None, :]).reshape(features.shape[0], -1)


def per_gradient(
    gradients: LastLayerGradients, labels: Integer[AnyArray, "n"]
) -> LastLayerGradients:
    """The paper's per-class-per-gradient approximation: the class's own column of the residuals.

    residuals become (n, 1) = dl/dz_y, so atoms have 1+E coordinates (paper, appendix A.2.1).
    """
    own = jnp.take_along_axis(gradients.residuals, labels[:, None], axis=1)
    return LastLayerGradients(own, gradients.features)


def take(
    atoms: Atoms, rows: Integer[AnyArray, "*rows"]
) -> LastLayerGradients | Float[AnyArray, "*rows d"]:
    """Atoms at `rows`; rows of -1 (padding) give the last atom and are masked by the caller."""
    return jax.tree.map(lambda x: x[rows], atoms)


def gram(atoms: Atoms) -> Float[Array, "*batch n n"]:
    """G_ij = <g_i, g_j>."""

    def inner(x):
        return jnp.matmul(x, jnp.swapaxes(x, -1, -2), precision=_HIGHEST)

    if isinstance(atoms, LastLayerGradients):
        return inner(atoms.residuals) * (1.0 + inner(atoms.features))
    return inner(atoms)


def weighted_sum(
    atoms: Atoms, weights: Float[AnyArray, "*batch n"]
) -> Float[Array, "*batch C D"] | Float[Array, "*batch d"]:
    """sum_i w_i g_i."""
    if isinstance(atoms, LastLayerGradients):
        weighted = atoms.residuals * weights[..., None]
        kernel = jnp.einsum("...nc,...ne->...ce", weighted, atoms.features, precision=_HIGHEST)
        return jnp.concatenate([jnp.sum(weighted, axis=-2)[..., None], kernel], axis=-1)
    return jnp.einsum("...n,...nd->...d", weights, atoms, precision=_HIGHEST)


def correlations(
    atoms: Atoms, target: Float[AnyArray, "*batch C D"] | Float[AnyArray, "*batch d"]
) -> Float[Array, "*batch n"]:
    """c_i = <g_i, target>."""
    if isinstance(atoms, LastLayerGradients):
        kernel = jnp.swapaxes(target[..., 1:], -1, -2)
        logits = jnp.matmul(atoms.features, kernel, precision=_HIGHEST) + target[..., None, :, 0]
        return jnp.sum(atoms.residuals * logits, axis=-1)
    return jnp.einsum("...nd,...d->...n", atoms, target, precision=_HIGHEST)


def class_sums(
    gradients: LastLayerGradients, labels: Integer[AnyArray, "n"], num_classes: int
) -> Float[Array, "{num_classes} C D"]:
    """Sum of each class's gradients: the per-class targets, from training or validation data."""

    def one(label):
        return weighted_sum(gradients, (labels == label).astype(gradients.features.dtype))

    return lax.map(one, jnp.arange(num_classes))


def batch_gram(
    gradients: LastLayerGradients,
    batches: Int[AnyArray, "b size"],
    target: Float[AnyArray, "C D"],
    *,
    block_bytes: int = 2**28,
) -> tuple[Float[Array, "b b"], Float[Array, "b"]]:
    """Gram matrix and correlations of mini-batch mean gradients (GRAD-MATCHPB's atoms).

    The b x C(1+E) matrix of means is built over blocks of the class axis of at most `block_bytes`
    and folded into the Gram matrix, so it never has to fit as a whole. `batches` is padded with -1.
    """
    residuals, features = gradients
    b, classes, width = batches.shape[0], residuals.shape[1], features.shape[1] + 1
    in_batch = batches >= 0
    sizes = jnp.maximum(jnp.sum(in_batch, axis=1, keepdims=True), 1)
    share = in_batch.astype(features.dtype) / sizes.astype(features.dtype)
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
        means = weighted_sum(LastLayerGradients(rows, batch_features), share)
        flat = means.reshape(b, -1)
        gram_sum += gram(flat)
        correlation_sum += correlations(flat, target_block.reshape(-1))
        return (gram_sum, correlation_sum), None

    start = (jnp.zeros((b, b), features.dtype), jnp.zeros(b, features.dtype))
    total, _ = lax.scan(add, start, (jnp.arange(count), targets))
    return total


def matching_error(
    atoms: Atoms,
    indices: Integer[AnyArray, "k"],
    weights: Float[AnyArray, "k"],
    target: Float[AnyArray, "C D"] | Float[AnyArray, "d"] | None = None,
) -> Float[Array, ""]:
    """‖sum_i w_i g_i - target‖ / ‖target‖ over the whole set (paper, equation 1).

    Computed in the space of the gradients, not from Gram matrices, so that a small error is not
    lost to cancellation. target: defaults to the sum of the atoms. A zero target gives the norm
    itself. Padded entries (index -1) count as nothing.
    """
    if target is None:
        rows = atoms[0] if isinstance(atoms, LastLayerGradients) else atoms
        target = weighted_sum(atoms, jnp.ones(rows.shape[0], rows.dtype))
    approximation = weighted_sum(take(atoms, indices), jnp.where(indices >= 0, weights, 0.0))
    scale = jnp.linalg.norm(target)
    return jnp.linalg.norm(approximation - target) / jnp.where(scale > 0, scale, 1.0)
