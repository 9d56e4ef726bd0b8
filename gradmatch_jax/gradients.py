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

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import (
    AnyArray,
    ArrayLike,
    Count,
    Number,
    as_floats,
    as_rows,
    checked,
)
from gradmatch_jax.inputs.atoms import Atoms as Atoms
from gradmatch_jax.inputs.atoms import LastLayerGradients, as_atoms, as_target, dtype_of
from gradmatch_jax.inputs.labels import as_indices, as_labels, as_num_classes, labels_of_loss
from gradmatch_jax.losses import Loss, residuals_of

# Full float32 products: the tensor-core default (tf32) loses the small differences OMP lives on.
_HIGHEST = lax.Precision.HIGHEST


def last_layer_gradients(
    logits: ArrayLike,
    features: ArrayLike,
    labels: ArrayLike,
    loss: Loss | str = "softmax",
    *,
    label_smoothing: Number = 0.0,
) -> LastLayerGradients:
    """Last-layer gradients of each example's loss.

    Args:
        logits: (n, C).
        features: (n, E), what enters the last layer.
        labels: what the loss takes: (n,), classes 0..C-1, for "softmax"; numbers (n, C), or (n,)
            of a single output, for "mse"; (n, C) in [0, 1] for "sigmoid".
        loss: by name, in closed form: "softmax" (residuals = softmax(logits) - onehot(labels)),
            "mse" (the mean of squared errors over the outputs), "sigmoid" (the mean of binary
            cross-entropies over them). Or a per-example loss of (logits, label), differentiated by
            `vmap(grad)`.
        label_smoothing: of "softmax" and "sigmoid".

    Returns:
        residuals (n, C) and features (n, E), in float32 or wider.

    Raises:
        UserError: lengths that differ; nan or inf; labels that are not classes 0..C-1, or not what
            the loss takes; no such loss.

    Example:
        >>> last_layer_gradients([[0.0, 0.0]], [[1.0, 2.0, 3.0]], [1]).residuals.tolist()
        [[0.5, -0.5]]
    """
    (logits,) = as_rows("logits", logits)
    (features,) = as_rows("features", features, bias=True)
    n = len(logits)
    if len(features) != n:
        raise UserError(f"logits have {n} rows and features {len(features)}; they differ")
    dtype = np.result_type(logits.dtype, features.dtype)
    logits, features = logits.astype(dtype), features.astype(dtype)
    return LastLayerGradients(residuals_of(loss, logits, labels, label_smoothing), features)


def gradients_by_definition(
    loss: Callable[[Float[Array, "C"], Integer[Array, ""]], Float[Array, ""]],
    kernel: ArrayLike,
    bias: ArrayLike,
    features: ArrayLike,
    labels: ArrayLike,
) -> Float[Array, "n d"]:
    """The definition: `vmap(grad)` of each example's loss in the last layer's own parameters.

    Dense, so for small problems and for checking the factored form; rows are laid out as
    `densify` lays them out.

    Args:
        loss: a per-example loss of (logits, label); labels are whatever it takes, n of them.
        kernel: (E, C), the last layer's.
        bias: (C,), likewise.
        features: (n, E).

    Returns:
        (n, C (1 + E)), one gradient a row.

    Raises:
        UserError: shapes that do not fit; nan or inf.

    Example:
        >>> def squared(logits, label):
        ...     return jnp.sum((logits - label) ** 2) / 2
        >>> gradients_by_definition(squared, [[1.0]], [0.0], [[2.0]], [1.0]).tolist()
        [[1.0, 2.0]]
    """
    (features,) = as_rows("features", features)
    kernel = as_floats("kernel", kernel, (features.shape[1], None))
    bias = as_floats("bias", bias, (kernel.shape[1],))
    labels = labels_of_loss(loss, labels, len(features))
    dtype = np.result_type(features.dtype, kernel.dtype, bias.dtype)
    features, kernel, bias = (x.astype(dtype) for x in (features, kernel, bias))

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
    atoms: ArrayLike, weights: ArrayLike
) -> Float[Array, "*batch C D"] | Float[Array, "*batch d"]:
    """sum_i w_i g_i.

    Args:
        atoms: `LastLayerGradients` or a dense (n, d) array; batches of them too.
        weights: (n,), one an atom.

    Returns:
        (C, 1+E) of factored atoms, the bias in column 0; (d,) of dense ones.

    Raises:
        UserError: shapes that do not fit; nan or inf, or a sum that overflows (when not traced).

    Example:
        >>> weighted_sum([[1.0, 2.0], [3.0, 4.0]], [1, 10]).tolist()
        [31.0, 42.0]
    """
    atoms = as_atoms(atoms, batched=True, sums=False)
    rows = atoms.features if isinstance(atoms, LastLayerGradients) else atoms
    weights = as_floats("weights", weights, rows.shape[:-1]).astype(rows.dtype)
    return checked("the weighted sum", _weighted_sum(atoms, weights))


def _weighted_sum(atoms: Atoms, weights: AnyArray) -> Array:
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
    gradients: ArrayLike, labels: ArrayLike, num_classes: Count
) -> Float[Array, "num_classes C D"] | Float[Array, "num_classes d"]:
    """Sum of each class's gradients: the per-class targets, from training or validation data.

    Args:
        gradients: `LastLayerGradients` or a dense (n, d) array.
        labels: (n,), classes 0..num_classes-1.
        num_classes: how many sums to return; 0 for a class that does not occur.

    Returns:
        (num_classes, C, 1+E) or (num_classes, d), as `weighted_sum` lays them out.

    Raises:
        UserError: shapes that do not fit; nan or inf; labels that are not such classes.

    Example:
        >>> class_sums([[1.0], [2.0], [4.0]], [0, 1, 1], 3).tolist()
        [[1.0], [6.0], [0.0]]
    """
    atoms = as_atoms(gradients, sums=False)
    dtype, num_classes = dtype_of(atoms), as_num_classes(num_classes)
    n = jax.tree.leaves(atoms)[0].shape[0]
    classes = jnp.asarray(as_labels(labels, n, num_classes))

    def one(label):
        return _weighted_sum(atoms, (classes == label).astype(dtype))

    return checked("the sum of a class", lax.map(one, jnp.arange(num_classes, dtype=jnp.int32)))


def matching_error(
    atoms: ArrayLike, indices: ArrayLike, weights: ArrayLike, target: ArrayLike | None = None
) -> Float[Array, ""]:
    """‖sum_i w_i g_i - target‖ / ‖target‖ over the whole set (paper, equation 1).

    Computed in the space of the gradients, so that a small error is not lost to cancellation.

    Args:
        atoms: `LastLayerGradients` or a dense (n, d) array.
        indices: (k,), rows of the atoms; padded entries (-1) count as nothing.
        weights: (k,).
        target: (C, 1+E) or (d,); the sum of the atoms by default. Zero gives the norm itself.

    Returns:
        A scalar, 0 for a perfect match and 1 for none.

    Raises:
        UserError: shapes that do not fit; indices out of range; nan or inf, or a sum that is.

    Example:
        >>> matching_error([[2.0], [2.0]], [1, -1], [1.0, 0.0]).item()
        0.5
    """
    atoms = as_atoms(atoms)
    rows = jax.tree.leaves(atoms)[0]
    indices = as_indices("indices", indices, rows.shape[0])
    weights = as_floats("weights", weights, indices.shape).astype(rows.dtype)
    if target is None:
        target = _weighted_sum(atoms, jnp.ones(rows.shape[0], rows.dtype))
    else:
        target = as_target(atoms, target)
    approximation = _weighted_sum(take(atoms, indices), jnp.where(indices >= 0, weights, 0))
    scale = jnp.linalg.norm(target)
    error = jnp.linalg.norm(approximation - target) / jnp.where(scale > 0, scale, 1)
    return checked("the matching error", error)
