"""A run that kills itself with SIGKILL before one of its own file operations.

    python -m experiments.robustness.victim SETTINGS_AS_JSON FOLDER ARRAYS.npz [MOMENT NTH]

Its file operations in FOLDER are told by Python's audit events, each a line such as "os.rename
checkpoints/N.tmp". Without a moment it runs to the end and prints them all.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")
NUMBERS = re.compile(r"\b[0-9a-f]{32}\b|\d+")


def moment_of(event: str, args: tuple, folder: str) -> str | None:
    """An audit event in a folder as a line, the numbers in its path as N; None elsewhere."""
    if event not in EVENTS or not isinstance(args[0], str | bytes | os.PathLike):
        return None
    path = os.path.abspath(os.fsdecode(args[0]))
    if not path.startswith(folder + os.sep):
        return None
    within = path.removeprefix(folder + os.sep)
    return f"{event} {NUMBERS.sub('N', within)}"


def main(settings: str, out: str, arrays: str, moment: str = "", nth: str = "1") -> None:
    """Run, and die at the `nth` `moment`."""
    import jax
    import numpy as np

    from gradmatch_jax.training.config import TrainConfig
    from gradmatch_jax.training.loop import train

    folder, seen = os.path.abspath(out), []

    def hook(event: str, args: tuple) -> None:
        found = moment_of(event, args, folder)
        if found is None:
            return
        seen.append(found)
        if found == moment and seen.count(moment) == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    state = train(TrainConfig(**json.loads(settings)), Path(out)).state

    def raw(leaf) -> np.ndarray:
        leaf = jax.numpy.asarray(leaf)
        key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    kept = (state.networks, state.selection, state.strategy, int(state.epoch))
    np.savez(arrays, *[raw(leaf) for leaf in jax.tree.leaves(kept)])  # pyright: ignore
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
