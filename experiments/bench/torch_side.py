"""PyTorch's side of `experiments.bench.training`: run by a Python that has torch, no JAX.

python torch_side.py '{"model": "lenet", "work": "pass", "batch": 50, ...}'
"""

import json
import sys
import time

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


class LeNet(nn.Module):
    """gradmatch_jax's LeNet, with CORDS's way of asking for features."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.head = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x, last=False, freeze=False):
        """Logits, and with `last` the features; with `freeze` these carry no gradient."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not freeze):
            x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
            x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
            # Channels last before flattening, as JAX has them.
            x = torch.relu(self.fc1(x.permute(0, 2, 3, 1).flatten(1)))
            x = torch.relu(self.fc2(x))
        logits = self.head(x)
        return (logits, x) if last else logits

    def get_embedding_dim(self):
        """Width of the features."""
        return 84


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out),
        )  # fmt: skip
        self.short = nn.Sequential()
        if stride != 1 or n_in != n_out:
            conv = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.short = nn.Sequential(conv, nn.BatchNorm2d(n_out))

    def forward(self, x):
        """The block's output."""
        return torch.relu(self.body(x) + self.short(x))


def resnet18():
    """ResNet-18 for 32×32 images: a 3×3 stem and no pooling behind it."""
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    width = 64
    for n_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(width, n_out, stride), Block(n_out, n_out, 1)]
        width = n_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def normalised(raw):
    """What the data set's preparation does."""
    return (raw.float() / 255 - 0.13) / 0.31


def one_pass(net, pool, labels, batch):
    """Logits of all images, kept."""
    del labels
    net.eval()
    with torch.inference_mode():
        parts = [net(normalised(pool[i : i + batch])) for i in range(0, len(pool), batch)]
        torch.cat(parts)


def one_epoch(net, pool, labels, batch):
    """Weighted SGD over all images, as the paper trains."""
    net.train()
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    weights = torch.ones(len(pool), device=pool.device)
    for i in range(0, len(pool) - batch + 1, batch):
        part = slice(i, i + batch)
        sgd.zero_grad()
        losses = nn.functional.cross_entropy(
            net(normalised(pool[part])), labels[part], reduction="none"
        )
        torch.mean(weights[part] * losses).backward()
        sgd.step()


def main(model, work, batch, images, repeats, threads, device="cpu", bf16=False, compiled=False):
    """Seconds of each repetition after a first."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does by default
    torch.backends.cudnn.benchmark = True
    net, shape = (LeNet(), (1, 28, 28)) if model == "lenet" else (resnet18(), (3, 32, 32))
    net = net.to(device)
    pool = torch.randint(0, 256, (images, *shape), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (images,), device=device)
    if device != "cpu":
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        pool = pool.contiguous(memory_format=torch.channels_last)
    if compiled:
        net = torch.compile(net)
    body = {"pass": one_pass, "train": one_epoch}[work]

    def once():
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            body(net, pool, labels, batch)
        if device != "cpu":
            torch.cuda.synchronize()

    once()
    wall, cpu = [], []
    for _ in range(repeats):
        start, spent = time.perf_counter(), time.process_time()
        once()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    return {"wall": wall, "cpu": cpu, "torch": torch.__version__}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
