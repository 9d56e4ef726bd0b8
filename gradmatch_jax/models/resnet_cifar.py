"""The narrow CIFAR ResNets: ResNet-20 and the pre-activation ResNet-164.

Selection via proxy (Coleman et al. 2020) picks data with ResNet-20 for a ResNet-164.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gradmatch_jax.models.layers import BatchNorm, classify, compute_dtype, conv, linear
from gradmatch_jax.models.model import Model, from_nnx
from gradmatch_jax.models.spec import InputSpec

STAGES = ((16, 1), (32, 2), (64, 2))


class PlainShortcutBlock(nnx.Module):
    """Basic block whose shortcut has no parameters: subsample, and pad channels with zeros.

    Option A of He et al. 2015, section 4.2.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, rngs: nnx.Rngs, *, dtype):
        self.stride, self.extra = stride, n_out - n_in
        self.conv1 = conv(n_in, n_out, 3, rngs, dtype=dtype, stride=stride, padding=1)
        self.bn1 = BatchNorm(n_out, rngs)
        self.conv2 = conv(n_out, n_out, 3, rngs, dtype=dtype, padding=1)
        self.bn2 = BatchNorm(n_out, rngs)

    def __call__(self, x):
        """(b, h, w, n_in) -> (b, h/stride, w/stride, n_out)."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (self.extra // 2, self.extra - self.extra // 2)))
        return jax.nn.relu(x + self.bn2(self.conv2(y)))


class PreActBottleneck(nnx.Module):
    """x + conv1(σ(conv3(σ(conv1(σ(x)))))) with σ = relu ∘ BN (He et al. 2016, identity mappings).

    Where the shape changes, a 1×1 convolution of the activated input takes the place of x.
    """

    def __init__(self, n_in: int, width: int, stride: int, rngs: nnx.Rngs, *, dtype):
        n_out = 4 * width
        self.bn1 = BatchNorm(n_in, rngs)
        self.conv1 = conv(n_in, width, 1, rngs, dtype=dtype)
        self.bn2 = BatchNorm(width, rngs)
        self.conv2 = conv(width, width, 3, rngs, dtype=dtype, stride=stride, padding=1)
        self.bn3 = BatchNorm(width, rngs)
        self.conv3 = conv(width, n_out, 1, rngs, dtype=dtype)
        self.projected = stride != 1 or n_in != n_out
        if self.projected:
            self.shortcut = conv(n_in, n_out, 1, rngs, dtype=dtype, stride=stride)

    def __call__(self, x):
        """(b, h, w, n_in) -> (b, h/stride, w/stride, 4 width)."""
        y = jax.nn.relu(self.bn1(x))
        if self.projected:
            x = self.shortcut(y)
        y = jax.nn.relu(self.bn2(self.conv1(y)))
        y = jax.nn.relu(self.bn3(self.conv2(y)))
        return x + self.conv3(y)


class ResNet20(nnx.Module):
    """Three stages of three basic blocks, 16 to 64 channels; 64 features."""

    def __init__(self, channels: int, num_classes: int, rngs: nnx.Rngs, *, dtype):
        self.stem = conv(channels, 16, 3, rngs, dtype=dtype, padding=1)
        self.stem_bn = BatchNorm(16, rngs)
        blocks, n_in = [], 16
        for width, stage_stride in STAGES:
            for stride in (stage_stride, 1, 1):
                blocks.append(PlainShortcutBlock(n_in, width, stride, rngs, dtype=dtype))
                n_in = width
        self.blocks = nnx.List(blocks)
        self.head = linear(n_in, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of images (b, h, w, c)."""
        x = jax.nn.relu(self.stem_bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return classify(self.head, x.mean(axis=(1, 2), dtype=jnp.float32))


class PreActResNet(nnx.Module):
    """Three stages of `depth` pre-activation bottlenecks, 64 to 256 channels; 256 features.

    9 depth + 2 layers: depth 18 is ResNet-164.
    """

    def __init__(self, channels: int, num_classes: int, depth: int, rngs: nnx.Rngs, *, dtype):
        self.stem = conv(channels, 16, 3, rngs, dtype=dtype, padding=1)
        blocks, n_in = [], 16
        for width, stage_stride in STAGES:
            for stride in (stage_stride, *[1] * (depth - 1)):
                blocks.append(PreActBottleneck(n_in, width, stride, rngs, dtype=dtype))
                n_in = 4 * width
        self.blocks = nnx.List(blocks)
        self.last_bn = BatchNorm(n_in, rngs)
        self.head = linear(n_in, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of images (b, h, w, c)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = jax.nn.relu(self.last_bn(x))
        return classify(self.head, x.mean(axis=(1, 2), dtype=jnp.float32))


def resnet20(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """ResNet-20 for CIFAR; 269,722 parameters for 10 classes."""
    channels, dtype = spec.shape[2], compute_dtype(bf16)
    return from_nnx("resnet20", lambda rngs: ResNet20(channels, num_classes, rngs, dtype=dtype))


def resnet164(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """Pre-activation ResNet-164 for CIFAR; about 1.7 million parameters for 10 classes."""
    channels, dtype = spec.shape[2], compute_dtype(bf16)
    return from_nnx(
        "resnet164", lambda rngs: PreActResNet(channels, num_classes, 18, rngs, dtype=dtype)
    )
