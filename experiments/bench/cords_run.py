"""The LeNet run of `experiments.bench.against_cords`, on our side and handed to the other."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from experiments.bench.torch_environment import ask
from gradmatch_jax.data import Dataset, ImagePrepare, load_dataset
from gradmatch_jax.gradients import LastLayerGradients, last_layer_gradients
from gradmatch_jax.models import build_model
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, evaluate, run_epoch
from gradmatch_jax.training.schedule import budget_of
from gradmatch_jax.training.steps import Learner, Steps, make_steps

if TYPE_CHECKING:
    from experiments.bench.against_cords import AgainstCords

# The other side's `normalised` too.
PREPARE = ImagePrepare((0.13,), (0.31,))


def prepared(args: "AgainstCords") -> tuple[Dataset, Steps, Learner]:
    """MNIST, LeNet's steps and its initial parameters."""
    dataset = load_dataset("mnist", args.data_dir)
    train = dataset.train.subset(np.arange(args.limit or len(dataset.train)))
    model = build_model("lenet", (28, 28, 1), 10)
    steps = make_steps(
        model, dataset_of(dataset, train), momentum=0.9, weight_decay=5e-4, augmented=False
    )
    return dataset_of(dataset, train), steps, steps.init(jax.random.key(args.seed))


def dataset_of(dataset: Dataset, train: Any) -> Dataset:
    """The set with this training split, prepared as the other side prepares it."""
    parts = {k: getattr(dataset, k) for k in ("validation", "test", "num_classes", "class_names")}
    return Dataset(name=dataset.name, train=train, prepare=PREPARE, **parts)


def class_of_mnist(args: "AgainstCords") -> tuple[LastLayerGradients, int]:
    """Gradients of a class after an epoch, and which class."""
    dataset, steps, learner = prepared(args)
    feed, n = Feed(dataset.train), len(dataset.train)
    learner, *_ = run_epoch(
        steps, learner, feed, np.arange(n), np.ones(n), batch_size=args.batch, lr=args.lr,
        key=jax.random.key(args.seed),
    )  # fmt: skip
    rows = np.flatnonzero(feed.host_labels == args.label)
    logits, features = collect(steps, learner.variables, feed, rows=rows)
    return last_layer_gradients(logits, features, feed.labels[rows]), args.label


def both(python: Path, args: "AgainstCords") -> list[dict[str, Any]]:
    """The run on both sides: accuracy, seconds, and what their selections share."""
    dataset, steps, learner = prepared(args)
    budget = budget_of(args.fraction, len(dataset.train))
    with tempfile.TemporaryDirectory() as folder:
        npz, out = Path(folder) / "run.npz", Path(folder) / "selections.npz"
        np.savez(npz, allow_pickle=False, **handed_over(dataset, learner))
        question = {
            "work": "train", "npz": str(npz), "out": str(out), "budget": budget, "lam": args.lam,
            "eps": args.eps, "epochs": args.epochs, "every": args.select_every,
            "batch": args.batch, "lr": args.lr, "seed": args.seed, "threads": args.threads,
        }  # fmt: skip
        theirs = ask(python, "cords_side.py", question, threads=args.threads)
        with np.load(out) as file:
            their_rows = [file[k] for k in file.files]
    # The first run compiles; SGD donates the learner, so each gets its own.
    run(steps, dataset, jax.tree.map(np.array, learner), budget, args)
    mine, rows = run(steps, dataset, learner, budget, args)
    shared = [len(np.intersect1d(a, b)) / budget for a, b in zip(rows, their_rows, strict=True)]
    count = {"selections": len(rows), "shared": float(np.mean(shared))}
    return [{"side": "gradmatch_jax"} | mine | count, {"side": "cords"} | theirs | count]


def handed_over(dataset: Dataset, learner: Learner) -> dict[str, np.ndarray]:
    """Images, labels and parameters as PyTorch lays them out."""
    arrays = {"labels": dataset.train.labels, "test_labels": dataset.test.labels}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        arrays[name] = split.take(np.arange(len(split)))
    for layer, values in learner.variables.params.items():
        kernel = np.asarray(values["kernel"])
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        arrays[f"net.{layer}.weight"] = kernel.transpose(order).copy()
        arrays[f"net.{layer}.bias"] = np.asarray(values["bias"])
    return arrays


def run(
    steps: Steps, dataset: Dataset, learner: Learner, budget: int, args: "AgainstCords"
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Ours: figures, and the rows of each selection in order."""
    feed, selecting, training, selections = Feed(dataset.train), 0.0, 0.0, []
    rows, weights = np.arange(0), np.ones(0, np.float32)
    for epoch in range(args.epochs):
        if epoch % args.select_every == 0:
            start = time.perf_counter()
            logits, features = collect(steps, learner.variables, feed)
            chosen = select_subset(
                last_layer_gradients(logits, features, feed.labels), budget,
                labels=feed.host_labels, approximation="per_gradient", lam=args.lam, eps=args.eps,
                key=jax.random.key(epoch),
            )  # fmt: skip
            order = np.argsort(np.asarray(chosen.indices))
            rows, weights = np.asarray(chosen.indices)[order], np.asarray(chosen.weights)[order]
            weights = weights / weights.mean()
            selecting += time.perf_counter() - start
            selections.append(rows)
        start = time.perf_counter()
        order = np.random.default_rng([args.seed, epoch]).permutation(len(rows))
        for i, at in enumerate(range(0, len(order), args.batch)):
            part = order[at : at + args.batch]
            mine = rows[part].astype(np.int32)
            pool = next(feed.batches(mine, len(mine))).pool
            learner, _ = steps.train(
                learner, pool, feed.host_labels[mine], mine, weights[part], args.lr,
                jax.random.key(0), i,
            )  # fmt: skip
        jax.block_until_ready(learner)
        training += time.perf_counter() - start
    accuracy = evaluate(steps, learner.variables, Feed(dataset.test))
    return {"accuracy": accuracy, "selecting": selecting, "training": training}, selections
