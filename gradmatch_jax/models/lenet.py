"""LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling, the paper's model for MNIST."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from gradmatch_jax.errors import UserError
from gradmatch_jax.models.layers import classify, compute_dtype, conv, linear
from gradmatch_jax.models.model import Model, from_nnx
from gradmatch_jax.models.spec import InputSpec


class LeNet(nnx.Module):
    """conv 5×5 (6) - pool - conv 5×5 (16) - pool - 120 - 84 - classes; 84 features.

    LeNet-5 sees 32×32 pixels. Images of 28 to 31 are padded to that by the first convolution;
    below 28 both convolutions are padded, so that small images (digits, 8×8) survive two poolings.
    """

    def __init__(self, image_shape, num_classes: int, rngs: nnx.Rngs, *, dtype):
        h, w, c = image_shape
        pad1 = 2 if min(h, w) < 32 else 0
        pad2 = 2 if min(h, w) < 28 else 0
        self.conv1 = conv(c, 6, 5, rngs, dtype=dtype, padding=pad1, use_bias=True)
        self.conv2 = conv(6, 16, 5, rngs, dtype=dtype, padding=pad2, use_bias=True)
        h, w = (((n + 2 * pad1 - 4) // 2 + 2 * pad2 - 4) // 2 for n in (h, w))
        self.fc1 = linear(16 * h * w, 120, rngs, dtype)
        self.fc2 = linear(120, 84, rngs, dtype)
        self.head = linear(84, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of images (b, h, w, c)."""
        x = jnp.transpose(x, (3, 0, 1, 2))
        # ReLU is monotone: after the pooling it gives the same at a quarter of the work.
        x = jax.nn.relu(_max_pool(_convolve(self.conv1, x)))
        x = jax.nn.relu(_max_pool(_convolve(self.conv2, x)))
        x = jnp.transpose(x, (1, 2, 3, 0))
        x = jax.nn.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return classify(self.head, jax.nn.relu(self.fc2(x)))


def _convolve(layer: nnx.Conv, x: Float[Array, "c b h w"]) -> Float[Array, "o b h2 w2"]:
    """`layer` as one matrix product with the stacked patches of channels-first images.

    XLA's CPU convolution does not vectorise over 1 or 6 channels; batch and positions as the long
    axis of a matrix product do.
    """
    dtype = layer.dtype or x.dtype
    kernel = jnp.asarray(layer.kernel[...], dtype)
    kh, kw, c, o = kernel.shape
    padding: Any = layer.padding
    # The barrier keeps XLA from computing what makes x once a patch, 25 times over.
    x = jax.lax.optimization_barrier(jnp.pad(x.astype(dtype), ((0, 0), (0, 0), *padding)))
    h, w = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    patches = jnp.stack([x[:, :, i : i + h, j : j + w] for i in range(kh) for j in range(kw)])
    y = kernel.reshape(kh * kw * c, o).T @ patches.reshape(kh * kw * c, -1)
    assert layer.bias is not None
    return (y + jnp.asarray(layer.bias[...], dtype)[:, None]).reshape(o, -1, h, w)


def _max_pool(x: Float[Array, "c b h w"]) -> Float[Array, "c b h2 w2"]:
    """2×2 max-pooling of channels-first images, an odd last row or column dropped."""
    c, b, h, w = x.shape
    x = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(c, b, h // 2, 2, w // 2, 2)
    return jnp.max(x, axis=(3, 5))


def lenet(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """LeNet-5; 61,706 parameters for 28×28×1 images and 10 classes.

    Raises:
        UserError: images under 4×4 pixels leave nothing after two poolings.
    """
    if min(spec.shape[:2]) < 4:
        raise UserError(f"lenet needs images of at least 4x4 pixels, not {spec.shape[:2]}.")
    dtype = compute_dtype(bf16)
    return from_nnx("lenet", lambda rngs: LeNet(spec.shape, num_classes, rngs, dtype=dtype))
