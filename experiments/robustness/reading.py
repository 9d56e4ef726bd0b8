"""The fuzzer's child: bounded memory, a line of JSON for each path it reads.

A job comes on standard input: dataset, paths (the undamaged one first), memory (GiB), seconds.
"""

import contextlib
import hashlib
import io
import json
import resource
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import numpy as np

from gradmatch_jax.data import Dataset, load_dataset
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.errors import UserError


def digest(dataset: str, path: Path) -> str:
    """A checksum of all that a reader makes of a path."""
    found = hashlib.sha256()
    if dataset == "select":
        arrays = list(read_arrays(path, str(path), ("logits", "features", "labels")).values())
    else:
        data = load_dataset(dataset, path, validation_fraction=0.25, image_size=32)
        found.update(repr((data.class_names, data.vocabulary, data.prepare)).encode())
        arrays = _arrays(data)
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _arrays(data: Dataset) -> list[np.ndarray]:
    splits = (data.train, data.validation, data.test)
    inputs = [split.take(np.arange(len(split))) for split in splits]
    return [*inputs, *(split.labels for split in splits)]


def answer(dataset: str, path: Path, whole: str, seconds: float) -> tuple[str, str]:
    """What became of a path (refused, same, changed, failed), and what was said."""
    said = io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.redirect_stderr(said):
            outcome = "same" if digest(dataset, path) == whole else "changed"
            message = ""
    except UserError as error:
        outcome, message = "refused", str(error)
    except Exception:  # what no reader may raise: the finding that the record is of
        outcome, message = "failed", traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    others = [line for line in said.getvalue().splitlines() if not line.startswith("warning: ")]
    if len(message.splitlines()) > 1 or others:
        return "failed", "\n".join([message, *others])
    return outcome, message


def _late(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError("no end of it")


def main() -> None:
    """Read every path of the job."""
    job = json.load(sys.stdin)
    most = job["memory"] << 30
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _late)
    with contextlib.redirect_stderr(io.StringIO()):
        whole = digest(job["dataset"], Path(job["paths"][0]))
    for path in job["paths"][1:]:
        print(json.dumps(answer(job["dataset"], Path(path), whole, job["seconds"])), flush=True)


if __name__ == "__main__":
    main()
