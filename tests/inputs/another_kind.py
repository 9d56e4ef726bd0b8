"""Calls with something of another kind than is wanted: a script, since the tests' own check of
annotations would answer first. It prints what each came to.

    python tests/inputs/another_kind.py
"""

import dataclasses
import importlib.util
import json

import numpy as np
from flax import linen

import gradmatch_jax as gm
from gradmatch_jax.loops.batches import weighted_batches
from gradmatch_jax.loops.forwards import linen_forward, nnx_forward
from gradmatch_jax.strategies.registry import Entry, register

RNG = np.random.default_rng(0)
Y = np.array([0, 1, 2] * 4, np.int32)
Z, H, D = (RNG.normal(size=(12, k)).astype(np.float32) for k in (3, 2, 5))
RANDOM = gm.TrainConfig(strategy="random", fraction=0.1, epochs=1, model="logistic")


def selector(strategy="random", **given):
    return gm.Selector(strategy, **{"labels": Y, "fraction": 0.5} | given)


def loader(**given):
    import torch

    from gradmatch_jax.torch import SubsetLoader

    data = torch.utils.data.TensorDataset(torch.tensor(H), torch.tensor(Y))
    net = torch.nn.Linear(2, 3)
    return SubsetLoader(data, net, head=net, fraction=0.5, **given)


CALLS = {
    "a name": lambda: gm.train("digits"), "nothing": lambda: gm.train(None),
    "a dict": lambda: gm.train({"epochs": 1}),
    "a data set by name": lambda: gm.train(RANDOM, dataset="mnist"),
    "a data set as a pair": lambda: gm.train(RANDOM, dataset=(H, Y)),
    "a network by name": lambda: gm.train(RANDOM, model="mlp"),
    "no callback": lambda: gm.train(RANDOM, on_epoch=None),
    "a stop that is none": lambda: gm.train(RANDOM, stop=True),
    "options": lambda: gm.select_subset(D, 4, options=None),
    "options in a dict": lambda: gm.omp(D @ D.T, D @ D.sum(0), 1.0, 3, options={"lam": 0.1}),
    "a type": lambda: gm.partition(Y, np.int32),
    "a type as a share": lambda: gm.select_subset(D, fraction=np.float32),
    "a type as a setting": lambda: gm.train(dataclasses.replace(RANDOM, lam=np.float32)),
    "a type as a name": lambda: gm.train(dataclasses.replace(RANDOM, pass_dtype=np.float32)),
    "classes": lambda: selector(num_classes="5"), "half a class": lambda: selector(num_classes=2.5),
    "a class for true": lambda: selector(num_classes=True),
    "no strategy": lambda: selector(lambda task: None), "a class": lambda: selector(gm.Strategy),
    "of no task": lambda: selector(lambda: None),
    "a path": lambda: register("a/b", Entry(lambda task: None, "epoch", "", "")),
    "an option": lambda: register("--x", Entry(lambda task: None, "epoch", "", "")),
    "capitals": lambda: register("UPPER", Entry(lambda task: None, "epoch", "", "")),
    "no function": lambda: register("mine", Entry("nocolon", "epoch", "", "")),
    "ragged labels": lambda: gm.glister(
        gm.last_layer_gradients(Z, H, Y), gm.Validation(Z[:2], H[:2], [[0], [1, 2]]), 4, eta=0.1
    ),
    "masks": lambda: gm.Dataset.from_arrays("m", np.ma.masked_array(H, H > 0), Y, H, Y),
    "masked labels": lambda: gm.Dataset.from_arrays("m", H, np.ma.masked_array(Y, Y > 0), H, Y),
    "a seed": lambda: gm.Dataset.from_arrays("m", H, Y, H, Y, seed=-1),
    "a share": lambda: gm.Dataset.from_arrays("m", H, Y, H, Y, validation_fraction="x"),
    "names": lambda: gm.Dataset.from_arrays("m", H, Y, H, Y, class_names=3),
    "no head": lambda: nnx_forward(selector(), None, H),
    "no name of a head": lambda: linen_forward(linen.Dense(2), None, dict, H),
    "a flag": lambda: next(weighted_batches(selector(), 0, (H, Y), 3, whole="no")),
}  # fmt: skip
OF_TORCH = {
    "fewer labels": lambda: loader(labels=Y[:6]), "more labels": lambda: loader(labels=[*Y, *Y]),
    "other examples": lambda: loader(plain=[0] * 24),
    "no batch": lambda: loader(pass_batch_size=0),
    "a batch in words": lambda: loader(pass_batch_size="4"),
}  # fmt: skip


def outcome(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


if __name__ == "__main__":
    calls = CALLS | (OF_TORCH if importlib.util.find_spec("torch") else {})
    print(json.dumps({name: outcome(call) for name, call in calls.items()}))
