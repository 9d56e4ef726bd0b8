"""MnistNet, the network that the PyTorch baseline (CORDS) runs as the paper's MNIST model."""

from __future__ import annotations

import jax
from flax import nnx

from gradmatch_jax.errors import UserError
from gradmatch_jax.models.layers import classify, compute_dtype, conv, linear, max_pool_2x2
from gradmatch_jax.models.model import Model, from_nnx
from gradmatch_jax.models.spec import InputSpec


class MnistNet(nnx.Module):
    """conv 3×3 (32) - conv 3×3 (64) - pool - 128 - classes, ReLU, two dropouts; 128 features."""

    def __init__(self, image_shape, num_classes: int, rngs: nnx.Rngs, *, dtype):
        h, w, c = image_shape
        self.conv1 = conv(c, 32, 3, rngs, dtype=dtype, use_bias=True)
        self.conv2 = conv(32, 64, 3, rngs, dtype=dtype, use_bias=True)
        self.drop_channels = nnx.Dropout(0.25, broadcast_dims=(1, 2), rngs=rngs)
        self.fc = linear(64 * ((h - 4) // 2) * ((w - 4) // 2), 128, rngs, dtype)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = linear(128, num_classes, rngs)

    def __call__(self, x):
        """(logits, features) of images (b, h, w, c)."""
        # ReLU is monotone: after the pooling it gives the same at a quarter of the work.
        x = jax.nn.relu(max_pool_2x2(self.conv2(jax.nn.relu(self.conv1(x)))))
        x = self.drop_channels(x)
        x = jax.nn.relu(self.fc(x.reshape(x.shape[0], -1)))
        return classify(self.head, self.drop(x))


def mnistnet(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """MnistNet; 1,199,882 parameters for 28×28×1 images and 10 classes.

    Raises:
        UserError: images under 6×6 pixels leave nothing after two convolutions and a pooling.
    """
    if min(spec.shape[:2]) < 6:
        raise UserError(f"mnistnet needs images of at least 6x6 pixels, not {spec.shape[:2]}.")
    dtype = compute_dtype(bf16)
    return from_nnx("mnistnet", lambda rngs: MnistNet(spec.shape, num_classes, rngs, dtype=dtype))
