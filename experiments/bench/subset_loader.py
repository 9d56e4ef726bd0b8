"""PyTorch's LeNet with `SubsetLoader` beside this project's driver: the same test accuracy?

    python -m experiments.bench.subset_loader --data-dir MNIST       # needs torch

The same strategies, budget, plan, batch size, SGD, learning rates, data and initialisation (by its
law, not its draws) on both sides, on the first --rows training images and the first --tested test
images. A record a strategy, seed and side; the table has each side's mean and deviation over the
seeds, and the difference of the means in standard errors.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from gradmatch_jax.data import Dataset, load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.report.tables import rich_table
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.schedule import learning_rate


@dataclass(frozen=True)
class LoaderCheck:
    """What both sides train."""

    data_dir: Path | None = None
    """MNIST's files; None downloads them."""
    strategies: tuple[str, ...] = ("gradmatch-pb", "gradmatch", "random")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    rows: int = 6000
    tested: int = 5000
    fraction: float = 0.1
    epochs: int = 20
    select_every: int = 5
    batch_size: int = 20
    lr: float = 0.01
    quick: bool = False
    """A few images and epochs: a rehearsal."""
    results: Path = Path("results/subset_loader.jsonl")


QUICK: dict[str, Any] = {
    "strategies": ("gradmatch-pb", "random"), "seeds": (0, 1), "rows": 400, "tested": 200,
    "epochs": 2, "select_every": 1,
}  # fmt: skip
COLUMNS = fields(
    strategy="{}", driver="{:.2f}", driver_std="{:.2f}", loader="{:.2f}", loader_std="{:.2f}",
    errors="{:.1f}",
)  # fmt: skip


def main(args: LoaderCheck) -> None:
    """Train every strategy and seed on both sides."""
    args = quickened(args, **QUICK) if args.quick else args
    try:
        import torch
    except ImportError as error:
        raise UserError("this compares with torch: pip install 'gradmatch-jax[torch]'") from error
    data, rows = small(args), []
    for strategy in args.strategies:
        found: dict[str, list[float]] = {"driver": [], "loader": []}
        for seed in args.seeds:
            for side, run in (("driver", by_driver), ("loader", by_loader)):
                start = time.perf_counter()
                accuracy = run(args, data, strategy, seed)
                found[side].append(accuracy)
                record = {"strategy": strategy, "seed": seed, "side": side, "accuracy": accuracy}
                append(args.results, record | stamp(args, start, torch=torch.__version__))
        rows.append({"strategy": strategy} | compared(found["driver"], found["loader"]))
    show(rich_table(COLUMNS, rows, title="Test accuracy, %"))


def small(args: LoaderCheck) -> Dataset:
    """The first rows of MNIST; the validation set is not looked at."""
    whole = load_dataset("mnist", args.data_dir)
    parts = {}
    for name, most in (("train", args.rows), ("test", args.tested), ("validation", 100)):
        split = getattr(whole, name)
        parts[name] = split.subset(np.arange(min(most, len(split))))
    return dataclasses.replace(whole, **parts)


def by_driver(args: LoaderCheck, data: Dataset, strategy: str, seed: int) -> float:
    """Test accuracy of `train`."""
    own: Any = {} if strategy == "random" else {"select_every": args.select_every}
    config = TrainConfig(
        strategy=strategy, fraction=args.fraction, epochs=args.epochs, seed=seed, model="lenet",
        batch_size=args.batch_size, lr=args.lr, eval_every=args.epochs, **own,
    )  # fmt: skip
    return train(config, dataset=data).summary["test_accuracy"]


def by_loader(args: LoaderCheck, data: Dataset, strategy: str, seed: int) -> float:
    """Test accuracy of a loop of PyTorch's, as its users write it."""
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset

    from gradmatch_jax.torch import SubsetLoader

    def tensors(split: Any) -> TensorDataset:
        pixels = np.moveaxis(np.asarray(data.prepare(None, jnp.asarray(split.inputs))), 3, 1)
        labels = torch.tensor(np.asarray(split.labels), dtype=torch.long)
        return TensorDataset(torch.tensor(pixels), labels)

    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    own: Any = {} if strategy == "random" else {"every": args.select_every}
    loader = SubsetLoader(
        tensors(data.train), model, head=model[-1], strategy=strategy, fraction=args.fraction,
        batch_size=args.batch_size, seed=seed, **own,
    )  # fmt: skip
    sgd = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(args.epochs):
        for group in sgd.param_groups:
            group["lr"] = learning_rate("cosine", args.lr, epoch / args.epochs)
        for x, y, w in loader:
            loss = (w * nn.functional.cross_entropy(model(x), y, reduction="none")).mean()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    x, y = tensors(data.test).tensors
    model.eval()
    with torch.no_grad():
        return 100 * float((model(x).argmax(1) == y).float().mean())


def compared(driver: list[float], loader: list[float]) -> dict[str, float]:
    """Means, deviations, and the difference of the means in its standard errors."""
    mine, theirs = (np.asarray(x) for x in (driver, loader))
    spread = [float(np.std(x, ddof=1)) for x in (mine, theirs)]
    error = float(np.sqrt(spread[0] ** 2 / len(mine) + spread[1] ** 2 / len(theirs)))
    away = float(theirs.mean() - mine.mean())
    return {
        "driver": float(mine.mean()), "driver_std": spread[0],
        "loader": float(theirs.mean()), "loader_std": spread[1],
        "errors": away / error if error else 0.0,
    }  # fmt: skip


if __name__ == "__main__":
    command(main, LoaderCheck)
