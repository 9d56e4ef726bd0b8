"""The data that a run is given: spoilt after the clean set was cut from them."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from experiments.clean.cases import Mixture, Source
from gradmatch_jax.data import Dataset, Split
from gradmatch_jax.data.tsv import read_tsv
from gradmatch_jax.selection.ranking import draw
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.strategies.registry import STRATEGIES, Entry, register
from gradmatch_jax.strategies.strategy import Strategy, Task, stateless

ROTATED = 0.8  # of the training pictures, by a quarter turn
LEAST_OTHERS = 0.5  # of an epoch of clean-and-random


def mixed(dataset: Dataset, mixture: Mixture, folder: Path | None, seed: int) -> Dataset:
    """`dataset` with its training set mixed with another source; the clean set and test stay.

    Args:
        dataset: the clean set is its validation set.
        mixture: most pictures turned, or sentences of films among questions.
        folder: of the data set; the sentences stand beside it as sst2.
        seed: of the draws.
    """
    if mixture == "none":
        return dataset
    if mixture == "rotated":
        return dataclasses.replace(dataset, train=_turned(dataset.train, seed))
    assert folder is not None
    return _among(dataset, folder.parent / "sst2")


def _turned(train: Split, seed: int) -> Split:
    rng = np.random.default_rng((seed, 3))  # apart from the draws of the package
    rows = rng.permutation(len(train))[: round(ROTATED * len(train))]
    inputs = np.array(train.take(np.arange(len(train))))
    inputs[rows] = np.rot90(inputs[rows], axes=(1, 2))
    return dataclasses.replace(train, inputs=inputs)


def _among(dataset: Dataset, folder: Path) -> Dataset:
    """Questions with another set's texts among them, whose classes come after theirs."""
    parts = read_tsv(folder)
    known = {word: i for i, word in enumerate(dataset.vocabulary)}
    new = [word for word in parts.vocabulary if word not in known]
    vocabulary = (*dataset.vocabulary, *new)
    position = {word: i for i, word in enumerate(vocabulary)}
    table = np.array([position[word] for word in parts.vocabulary], np.int32)
    theirs = table[parts.train.take(np.arange(len(parts.train)))]
    width = max(theirs.shape[1], *dataset.train.shape)
    train, validation, test = (
        _wide(split.take(np.arange(len(split))), width)
        for split in (dataset.train, dataset.validation, dataset.test)
    )
    labels = np.concatenate([dataset.train.labels, parts.train.labels + dataset.num_classes])
    return Dataset.from_arrays(
        f"{dataset.name} and {folder.name}",
        np.concatenate([train, _wide(theirs, width)]),
        labels,
        test,
        dataset.test.labels,
        validation,
        dataset.validation.labels,
        class_names=(*dataset.class_names, *(f"{folder.name} {c}" for c in parts.class_names)),
        vocabulary=vocabulary,
    )


def _wide(ids: Int32[np.ndarray, "n length"], width: int) -> Int32[np.ndarray, "n width"]:
    return np.pad(ids, ((0, 0), (0, width - ids.shape[1])))


def sourced(dataset: Dataset, source: Source) -> Dataset:
    """`dataset` with what an arm trains on; of both, the clean set is last."""
    if source == "rest":
        return dataset
    clean = dataset.validation
    if source == "clean":
        return dataclasses.replace(dataset, train=clean)
    parts = (dataset.train, clean)
    inputs = np.concatenate([split.take(np.arange(len(split))) for split in parts])
    labels = np.concatenate([split.labels for split in parts])
    return dataclasses.replace(dataset, train=Split(inputs, labels))


def clean_and_random(task: Task) -> Strategy:
    """The clean set every epoch, at most half of the epoch, and a fresh random subset of the rest.

    Args:
        task: its last examples are its validation set.
    """
    assert task.validation_labels is not None
    clean = len(task.validation_labels)
    others = len(task.labels) - clean
    ours = min(clean, task.budget - round(LEAST_OTHERS * task.budget))

    def select(state, snapshot, key):
        del snapshot
        keys = jax.random.split(key)
        drawn = (
            draw(keys[0], clean, ours) + jnp.int32(others),
            draw(keys[1], others, task.budget - ours),
        )
        return unweighted(jnp.concatenate(drawn)), state

    return Strategy(stateless, select)


CLEAN_AND_RANDOM = "clean-and-random"


@contextmanager
def known() -> Iterator[None]:
    """The package's strategies and `clean_and_random`, by its name, while the block lasts."""
    if CLEAN_AND_RANDOM in STRATEGIES:
        yield
        return
    said = "the clean set and a fresh random subset of the rest"
    entry = Entry(clean_and_random, "epoch", said, "experiments.clean", reads=False)
    register(CLEAN_AND_RANDOM, entry)
    try:
        yield
    finally:
        STRATEGIES.pop(CLEAN_AND_RANDOM)
