"""Layers shared by the bundled models, initialised as PyTorch does by default.

`nn.Linear` and `nn.Conv2d` draw kernel and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)). The
paper's figures come from PyTorch, so its initialisation is part of what is reproduced here.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def compute_dtype(bf16: bool) -> jnp.dtype:
    """The dtype of the hidden layers."""
    return jnp.dtype(jnp.bfloat16 if bf16 else jnp.float32)


def torch_uniform(fan_in: int) -> nnx.Initializer:
    """Initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for kernel and bias."""
    bound = fan_in**-0.5

    def initializer(key, shape, dtype=jnp.float32, out_sharding=None):
        # XLA compiles a flat draw in a fifth of the time of a four-dimensional one.
        return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)

    return initializer


def linear(n_in: int, n_out: int, rngs: nnx.Rngs, dtype=jnp.float32) -> nnx.Linear:
    """Affine map x @ kernel + bias."""
    uniform = torch_uniform(n_in)
    return nnx.Linear(n_in, n_out, kernel_init=uniform, bias_init=uniform, dtype=dtype, rngs=rngs)


def conv(
    n_in: int,
    n_out: int,
    size: int,
    rngs: nnx.Rngs,
    *,
    dtype,
    stride: int = 1,
    padding: int = 0,
    use_bias: bool = False,
) -> nnx.Conv:
    """Square convolution, `padding` pixels on every side.

    The padding is explicit because "SAME" pads a strided layer on one side only, unlike PyTorch.
    """
    uniform = torch_uniform(n_in * size * size)
    return nnx.Conv(
        n_in,
        n_out,
        (size, size),
        strides=stride,
        padding=[(padding, padding), (padding, padding)],
        use_bias=use_bias,
        kernel_init=uniform,
        bias_init=uniform,
        dtype=dtype,
        rngs=rngs,
    )


class BatchNorm(nnx.Module):
    """Batch normalisation in float32 whatever the input's dtype, which the output keeps.

    running <- 0.9 running + 0.1 batch, which is PyTorch's momentum 0.1. Flax stores the biased
    batch variance and PyTorch the unbiased one: n/(n-1) apart, n = batch × height × width.
    """

    def __init__(self, n: int, rngs: nnx.Rngs):
        self.norm = nnx.BatchNorm(n, momentum=0.9, epsilon=1e-5, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalise over batch and positions."""
        return self.norm(x).astype(x.dtype)


def classify(
    head: nnx.Linear, features: Float[Array, "b e"]
) -> tuple[Float[Array, "b classes"], Float[Array, "b e"]]:
    """(logits, features) of the last linear layer, both float32."""
    features = features.astype(jnp.float32)
    return head(features), features


def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """2×2 max-pooling, an odd last row or column dropped as in PyTorch.

    Maxima of strided slices: on CPU a LeNet step is about a tenth faster than with reshape and
    max, which in turn beats `reduce_window`.
    """
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = jnp.maximum(x[:, 0:h:2, :w], x[:, 1:h:2, :w])
    return jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])


def max_pool_3x3(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """3×3 max-pooling with stride 2 and a pixel of padding, ImageNet's stem."""
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), around)
