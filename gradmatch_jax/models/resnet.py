"""ResNet-18 (He et al. 2015), with the stem for CIFAR or the one for ImageNet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gradmatch_jax.models.layers import (
    BatchNorm,
    classify,
    compute_dtype,
    conv,
    linear,
    max_pool_3x3,
)
from gradmatch_jax.models.model import Model, from_nnx
from gradmatch_jax.models.spec import InputSpec


class BasicBlock(nnx.Module):
    """relu(shortcut(x) + BN(conv3(relu(BN(conv3(x)))))).

    The shortcut is the identity, or BN(conv1(x)) where the shape changes.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, rngs: nnx.Rngs, *, dtype):
        self.conv1 = conv(n_in, n_out, 3, rngs, dtype=dtype, stride=stride, padding=1)
        self.bn1 = BatchNorm(n_out, rngs)
        self.conv2 = conv(n_out, n_out, 3, rngs, dtype=dtype, padding=1)
        self.bn2 = BatchNorm(n_out, rngs)
        self.projected = stride != 1 or n_in != n_out
        if self.projected:
            self.shortcut = conv(n_in, n_out, 1, rngs, dtype=dtype, stride=stride)
            self.shortcut_bn = BatchNorm(n_out, rngs)

    def __call__(self, x):
        """(b, h, w, n_in) -> (b, h/stride, w/stride, n_out)."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return jax.nn.relu(y + (self.shortcut_bn(self.shortcut(x)) if self.projected else x))


class ResNet18(nnx.Module):
    """Four stages of two basic blocks, 64 to 512 channels; 512 features."""

    def __init__(self, channels: int, num_classes: int, rngs: nnx.Rngs, *, cifar_stem: bool, dtype):
        self.cifar_stem = cifar_stem
        size, stride = (3, 1) if cifar_stem else (7, 2)
        self.stem = conv(channels, 64, size, rngs, dtype=dtype, stride=stride, padding=size // 2)
        self.stem_bn = BatchNorm(64, rngs)
        blocks, n_in = [], 64
        for n_out, stage_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks.append(BasicBlock(n_in, n_out, stage_stride, rngs, dtype=dtype))
            blocks.append(BasicBlock(n_out, n_out, 1, rngs, dtype=dtype))
            n_in = n_out
        self.blocks = nnx.List(blocks)
        self.head = linear(512, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of images (b, h, w, c)."""
        x = jax.nn.relu(self.stem_bn(self.stem(x)))
        if not self.cifar_stem:
            x = max_pool_3x3(x)
        for block in self.blocks:
            x = block(x)
        return classify(self.head, x.mean(axis=(1, 2), dtype=jnp.float32))


def resnet18(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """ResNet-18: 3×3 stem without pooling below 64 pixels, otherwise ImageNet's 7×7 and max-pool.

    11,173,962 parameters for CIFAR-10, 11,689,512 for ImageNet's 1000 classes.
    """
    height, _, channels = spec.shape
    small, dtype = height < 64, compute_dtype(bf16)
    return from_nnx(
        "resnet18",
        lambda rngs: ResNet18(channels, num_classes, rngs, cifar_stem=small, dtype=dtype),
    )
