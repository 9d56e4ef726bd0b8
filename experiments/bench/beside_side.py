"""One side of `beside`: a work's name and how often in, a line with its seconds out.

It runs on whatever tree is on its path, and uses what both of them have.
"""

import json
import sys
import time
from typing import Any

import jax
import numpy as np

from gradmatch_jax.data import Dataset, ImagePrepare, Split
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.models import build_model
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.coreset import select_coreset
from gradmatch_jax.selection.glister import Validation, glister
from gradmatch_jax.selection.subset import select_subset
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, run_epoch
from gradmatch_jax.training.steps import make_steps

BATCH, CLASSES, WIDTH, SHARE = 20, 10, 84, 0.1
STEPS = 50


def works(images: int):
    """Functions by name, on LeNet and images and gradients of MNIST's shape."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 28, 28, 1), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, images).astype(np.int32)
    split = Split(pixels, labels)
    names = tuple(str(c) for c in range(CLASSES))
    dataset = Dataset("random", split, split, split, CLASSES, ImagePrepare((0.13,), (0.31,)), names)
    model = build_model("lenet", (28, 28, 1), CLASSES)
    steps = make_steps(model, dataset, momentum=0.9, weight_decay=5e-4, augmented=False)
    feed, held = Feed(split), {"learner": steps.init(jax.random.key(0))}
    logits = rng.normal(size=(images, CLASSES)).astype(np.float32)
    features = np.abs(rng.normal(size=(images, WIDTH))).astype(np.float32)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    residuals = (share - np.eye(CLASSES)[labels]).astype(np.float32)
    gradients = jax.tree.map(jax.numpy.asarray, LastLayerGradients(residuals, features))
    validation = Validation(logits[:500], features[:500], labels[:500])
    rows = np.arange(min(STEPS, images // BATCH) * BATCH)

    def train():
        held["learner"], *_ = run_epoch(
            steps, held["learner"], feed, rows, np.ones(len(rows)), batch_size=BATCH, lr=0.01,
            key=jax.random.key(1),
        )  # fmt: skip
        return held["learner"]

    budget: dict[str, Any] = {"fraction": SHARE}
    own: dict[str, Any] = {"labels": labels, "approximation": "per_gradient"}
    return {
        "steps": train,
        "pass": lambda: collect(steps, held["learner"].variables, feed),
        "per-class": lambda: select_subset(gradients, **own, **budget),
        "per-batch": lambda: select_batches(gradients, batch_size=BATCH, **budget),
        "craig": lambda: select_coreset(gradients, labels=labels, **budget),
        "glister": lambda: glister(gradients, validation, eta=0.01, **budget),
    }


def main() -> None:
    """Answer until there is nothing more to answer."""
    known = works(int(sys.argv[1]))
    for line in sys.stdin:
        work, times = line.split()
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(int(times)):
            jax.block_until_ready(known[work]())
        seconds = time.perf_counter() - start, time.process_time() - cpu_start
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
