"""The bundled networks against the same networks in PyTorch, with the same weights."""

import jax
import numpy as np
import pytest
from flax import nnx

from gradmatch_jax.models import build_model
from gradmatch_jax.models.mnistnet import MnistNet
from gradmatch_jax.models.model import from_nnx
from gradmatch_jax.models.resnet_cifar import PreActResNet
from toys import LONG

torch = pytest.importorskip("torch")
F = torch.nn.functional


def images(shape, n=3):
    return jax.random.normal(jax.random.key(1), (n, *shape))


def torch_tensor(a):
    """Kernels to OIHW, dense kernels to (out, in)."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(a.ndim, range(a.ndim))
    return torch.from_numpy(np.asarray(a).transpose(order).copy())


def torch_images(x):
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def batch_norm(y, bn):
    p = bn["norm"]
    return F.batch_norm(y, None, None, p["scale"], p["bias"], training=True, eps=1e-5)


def conv_bn(y, conv, bn, **options):
    return batch_norm(F.conv2d(y, conv["kernel"], **options), bn)


def moved_off_the_start(net):
    """Variables whose batch-norm scales and biases are not 1 and 0, so that mix-ups show."""
    variables = net.init(jax.random.key(0))
    rng = np.random.default_rng(5)

    def move(a):
        noise = 0.1 * rng.standard_normal(a.shape).astype(np.float32)
        return np.asarray(a) * (1 + noise) + noise * (a.ndim == 1)

    return variables._replace(params=jax.tree.map(move, variables.params))


def compare(net, shape, forward):
    """Features in training mode against `forward(params, images)`."""
    variables, x = moved_off_the_start(net), images(shape, n=4)
    expected = forward(jax.tree.map(torch_tensor, variables.params), torch_images(x))
    logits, features, _ = jax.jit(net.apply, static_argnums=2)(variables, x, True)
    scale = np.abs(expected.numpy()).max()
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-4 * scale)
    head = variables.params["head"]
    np.testing.assert_allclose(logits, features @ head["kernel"] + head["bias"][None], atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(("size", "padding"), [(28, (2, 0)), (32, (0, 0)), (9, (2, 2))])
def test_lenet_agrees_with_pytorch(size, padding):
    net = build_model("lenet", (size, size, 1), 10)
    variables = net.init(jax.random.key(0))
    x = images((size, size, 1))
    p = jax.tree.map(torch_tensor, variables.params)
    y = torch_images(x)
    for layer, pad in zip(("conv1", "conv2"), padding, strict=True):
        y = F.conv2d(y, p[layer]["kernel"], p[layer]["bias"], padding=pad)
        y = F.max_pool2d(F.relu(y), 2)
    # Ours flattens (h, w, c): bring the channels last before doing the same.
    y = y.permute(0, 2, 3, 1).flatten(1)
    for layer in ("fc1", "fc2"):
        y = F.relu(F.linear(y, p[layer]["kernel"], p[layer]["bias"]))
    z = F.linear(y, p["head"]["kernel"], p["head"]["bias"])
    logits, features, _ = net.apply(variables, x, False)
    np.testing.assert_allclose(features, y.numpy(), atol=1e-5)
    np.testing.assert_allclose(logits, z.numpy(), atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("size", [28, 9])
def test_mnistnet_agrees_with_pytorch(size):
    """In evaluation, where the dropouts rest."""
    net = build_model("mnistnet", (size, size, 1), 10)
    variables = net.init(jax.random.key(0))
    x = images((size, size, 1))
    p = jax.tree.map(torch_tensor, variables.params)
    y = torch_images(x)
    for layer in ("conv1", "conv2"):
        y = F.relu(F.conv2d(y, p[layer]["kernel"], p[layer]["bias"]))
    y = F.max_pool2d(y, 2).permute(0, 2, 3, 1).flatten(1)
    y = F.relu(F.linear(y, p["fc"]["kernel"], p["fc"]["bias"]))
    z = F.linear(y, p["head"]["kernel"], p["head"]["bias"])
    logits, features, _ = net.apply(variables, x, False)
    np.testing.assert_allclose(features, y.numpy(), atol=1e-5)
    np.testing.assert_allclose(logits, z.numpy(), atol=1e-5)


@pytest.mark.thorough
def test_mnistnet_drops_whole_channels_then_single_features():
    net = MnistNet((28, 28, 1), 10, nnx.Rngs(0), dtype=np.float32)
    net.train()
    maps = np.asarray(net.drop_channels(np.ones((50, 3, 4, 64), np.float32)))
    assert (maps == maps[:, :1, :1]).all()
    assert set(np.unique(maps)) == {0, np.float32(4 / 3)}
    assert np.mean(maps == 0) == pytest.approx(0.25, abs=0.03)  # 3200 draws: 4 standard errors
    features = np.asarray(net.drop(np.ones((50, 128), np.float32)))
    assert set(np.unique(features)) == {0, 2}
    assert np.mean(features == 0) == pytest.approx(0.5, abs=0.03)


@pytest.mark.thorough
@pytest.mark.parametrize(("size", "imagenet"), [pytest.param(16, False, marks=LONG), (64, True)])
def test_resnet18_agrees_with_pytorch(size, imagenet):
    """Both stems, and with them strides, paddings, projected shortcuts and batch-norm."""

    def forward(p, y):
        stem = {"stride": 2, "padding": 3} if imagenet else {"padding": 1}
        y = F.relu(conv_bn(y, p["stem"], p["stem_bn"], **stem))
        if imagenet:
            y = F.max_pool2d(y, 3, 2, 1)
        for i in range(8):
            b, stride = p["blocks"][str(i)], 2 if i in (2, 4, 6) else 1
            z = F.relu(conv_bn(y, b["conv1"], b["bn1"], stride=stride, padding=1))
            z = conv_bn(z, b["conv2"], b["bn2"], padding=1)
            if "shortcut" in b:
                y = conv_bn(y, b["shortcut"], b["shortcut_bn"], stride=stride)
            y = F.relu(y + z)
        return y.mean((2, 3))

    compare(build_model("resnet18", (size, size, 3), 10), (size, size, 3), forward)


@pytest.mark.thorough
def test_resnet20_agrees_with_pytorch():
    """Parameter-free shortcuts: every other pixel, a quarter of zero channels before and after."""

    def forward(p, y):
        y = F.relu(conv_bn(y, p["stem"], p["stem_bn"], padding=1))
        for i in range(9):
            b, stride = p["blocks"][str(i)], 2 if i in (3, 6) else 1
            z = F.relu(conv_bn(y, b["conv1"], b["bn1"], stride=stride, padding=1))
            z = conv_bn(z, b["conv2"], b["bn2"], padding=1)
            if stride == 2:
                quarter = z.shape[1] // 4
                y = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
            y = F.relu(y + z)
        return y.mean((2, 3))

    compare(build_model("resnet20", (8, 8, 3), 10), (8, 8, 3), forward)


@pytest.mark.thorough
def test_preactivation_resnet_agrees_with_pytorch():
    """ResNet-164's network with two blocks a stage instead of 18."""

    def forward(p, y):
        y = F.conv2d(y, p["stem"]["kernel"], padding=1)
        for i in range(6):
            b, stride = p["blocks"][str(i)], 2 if i in (2, 4) else 1
            z = F.relu(batch_norm(y, b["bn1"]))
            if i in (0, 2, 4):
                y = F.conv2d(z, b["shortcut"]["kernel"], stride=stride)
            z = F.relu(conv_bn(z, b["conv1"], b["bn2"]))
            z = F.relu(conv_bn(z, b["conv2"], b["bn3"], stride=stride, padding=1))
            y = y + F.conv2d(z, b["conv3"]["kernel"])
        return F.relu(batch_norm(y, p["last_bn"])).mean((2, 3))

    net = from_nnx("short", lambda rngs: PreActResNet(3, 10, 2, rngs, dtype=np.float32))
    compare(net, (8, 8, 3), forward)
