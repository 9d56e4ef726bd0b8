"""Runs of every kind of strategy on however many devices and processes there are.

python layouts.py FOLDER NAMES                                  # of this process's own devices
python layouts.py FOLDER NAMES COORDINATOR PROCESSES NUMBER     # one of several processes

NAMES: those of the runs, with commas between.
"""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np

from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.loop import train
from gradmatch_jax.training.plain import on_host
from placed import normalising
from toys import as_streams, toy_dataset

# The others each stand for a way to select; these two select every epoch, from what training saw.
EVERY_EPOCH = ("adaptive-random", "infobatch")
# These match what a pass over the validation set says.
MATCHED = tuple(f"{name} of validation" for name in ("gradmatch", "gradmatch-pb"))
# Of this each process reads its own rows, by grain.
STREAMED = "gradmatch-pb of a stream"
NAMES = (
    "gradmatch", "gradmatch-per-class", "gradmatch-pb", "craig", "glister", *EVERY_EPOCH, *MATCHED,
    STREAMED,
)  # fmt: skip


def settings(name):
    plan = {} if name in EVERY_EPOCH else {"select_every": 2}
    budget = {} if name == "infobatch" else {"fraction": 0.25}
    given = {"epochs": 4, "batch_size": 8, "lr": 0.05, "devices": 0} | plan | budget
    return given | {"strategy": name.split(" of ")[0], "validation_target": name in MATCHED}


def main(folder, names, coordinator=None, processes=1, number=0):
    if coordinator is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(coordinator, int(processes), int(number))
    model, folder = normalising(), Path(folder)
    for name in names.split(","):
        if name == STREAMED and not importlib.util.find_spec("grain"):
            continue
        out, data = folder / name, toy_dataset()
        data = as_streams(data) if name == STREAMED else data
        run = train(TrainConfig(**settings(name)), out, dataset=data, model=model)
        if jax.process_index() == 0:
            leaves = jax.tree.leaves(on_host(run.state.learner))
            np.savez(out / "parameters.npz", *leaves)
        print(name, jax.device_count(), jax.process_count(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
