"""PyTorch, digits: a loop of one's own on 5 % of the data. Touched lines are marked  # +

    python examples/loop_pytorch.py        # pip install torch

The body of the inner loop is what a LightningModule's training_step holds: `SubsetLoader` goes
where the DataLoader went, and its batches have one member more.
"""

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from gradmatch_jax.data import load_dataset
from gradmatch_jax.torch import SubsetLoader

DATA = load_dataset("digits")
x, x_test = (
    torch.tensor(s.inputs.reshape(len(s), -1) / np.float32(255)) for s in (DATA.train, DATA.test)
)
y, y_test = (torch.tensor(s.labels, dtype=torch.long) for s in (DATA.train, DATA.test))


def train(strategy="gradmatch", seed=0, epochs=60):
    """Train; the test accuracy in percent."""
    torch.manual_seed(seed)
    head = torch.nn.Linear(128, 10)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), head)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = SubsetLoader(  # +
        TensorDataset(x, y), model, head=head, strategy=strategy, fraction=0.05, every=10,
        batch_size=20, seed=seed,
    )  # fmt: skip
    for _ in range(epochs):
        for images, labels, w in loader:  # +
            loss = (w * cross_entropy(model(images), labels, reduction="none")).mean()  # +
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return 100 * float((model(x_test).argmax(1) == y_test).float().mean())


if __name__ == "__main__":
    for seed in range(3):
        print(
            f"seed {seed}: gradmatch {train(seed=seed):.1f} %, random {train('random', seed):.1f} %"
        )
