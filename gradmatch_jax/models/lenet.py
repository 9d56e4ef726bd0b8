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
        x = jnp.transpose(x, (3, 1, 2, 0))
        # ReLU is monotone: after the pooling it gives the same at a quarter of the work.
        x = jax.nn.relu(_convolve_and_pool(self.conv1, x))
        x = jax.nn.relu(_convolve_and_pool(self.conv2, x))
        x = jnp.transpose(x, (3, 1, 2, 0))
        x = jax.nn.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return classify(self.head, jax.nn.relu(self.fc2(x)))


def _convolve_and_pool(layer: nnx.Conv, x: Float[Array, "c h w b"]) -> Float[Array, "o h2 w2 b"]:
    """`layer`, then 2×2 max-pooling (an odd last row or column dropped), as one matrix product.

    A pooled output sees a window of kh+1 × kw+1 pixels, and the four values it is the largest of
    are four rows of a matrix times that window: the kernel at its four places, zeros elsewhere.
    XLA's CPU convolution does not vectorise over 1 or 6 channels; positions and batch as the long
    axis of a matrix product do, and windows two pixels apart are copied 9 times where patches of
    every position are copied 25 times. The zeros cost 1.44 times the multiplications and are worth
    it: the pass is 1.8 times as fast, a step at batch 20 / 128 1.25 / 2.5 times.
    """
    dtype = layer.dtype or x.dtype
    assert layer.bias is not None
    kernel, bias = (jnp.asarray(p[...], dtype) for p in (layer.kernel, layer.bias))
    kh, kw, _, o = kernel.shape
    padding: Any = layer.padding
    # The barrier keeps XLA from computing what makes x once a window, nine times over.
    x = jax.lax.optimization_barrier(jnp.pad(x.astype(dtype), ((0, 0), *padding, (0, 0))))
    h2, w2 = (x.shape[1] - kh + 1) // 2, (x.shape[2] - kw + 1) // 2
    windows = jnp.stack(
        [
            x[:, i : i + 2 * h2 - 1 : 2, j : j + 2 * w2 - 1 : 2]
            for i in range(kh + 1)
            for j in range(kw + 1)
        ]
    )
    placed = jnp.stack(
        [
            jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0)))
            for i in range(2)
            for j in range(2)
        ]
    )
    rows = jnp.moveaxis(placed, 4, 1).reshape(4 * o, -1)
    each = (rows @ windows.reshape(rows.shape[1], -1)).reshape(4, o, h2, w2, -1)
    return jnp.max(each, axis=0) + bias[:, None, None, None]


def lenet(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """LeNet-5; 61,706 parameters for 28×28×1 images and 10 classes.

    Raises:
        UserError: images under 4×4 pixels leave nothing after two poolings.
    """
    if min(spec.shape[:2]) < 4:
        raise UserError(f"lenet needs images of at least 4x4 pixels, not {spec.shape[:2]}.")
    dtype = compute_dtype(bf16)
    return from_nnx("lenet", lambda rngs: LeNet(spec.shape, num_classes, rngs, dtype=dtype))
