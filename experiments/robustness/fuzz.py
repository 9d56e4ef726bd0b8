"""Damaged files: every reader answers with the data or with one line, whatever it is given.

    python -m experiments.robustness.fuzz
    python -m experiments.robustness.fuzz --quick

Small valid files of every reader are damaged (bits flipped, cut, spliced, bytes of the header set
to extremes, stretches removed, doubled, blanked) and read in child processes with bounded memory
and time, many cases to a child; a child that dies is blamed on the case it was at. A case is

- refused: one `UserError` of one line, nothing else;
- same: the data set of the undamaged file;
- changed: another data set. Where the file carries a checksum this is a failure; raw bytes (idx,
  .bin, .tsv, JPEG) carry none, and SVHN's .mat has its published md5, which a warning speaks of;
- failed: another exception, several lines, warnings of others, a dead or hanging child.

Exit status 1 if any case failed. The paper has no such figure.
"""

import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.command import command, quickened, show
from experiments.records import append, fields, stamp
from experiments.robustness.samples import Sample, samples, write
from gradmatch_jax.report.tables import rich_table

_BATCH = 50  # cases a child
_EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\xff" * 8, b"9" * 11, b"{[(")
OUTCOMES = ("refused", "same", "changed", "failed")


@dataclass(frozen=True)
class Fuzz:
    """How many files, and how long each may take."""

    files: int = 2600
    """Damaged files over all readers, the same number each."""
    seconds: float = 30.0
    """A file's time."""
    memory: int = 4
    """GiB of address space a child has."""
    seed: int = 0
    only: tuple[str, ...] = ()
    """These samples (mnist, npz, svhn...) instead of all."""
    quick: bool = False
    """A hundred files: a rehearsal."""
    results: Path = Path("results/fuzz.jsonl")


QUICK = {"files": 104}


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """The name of a damage, and `content` with it."""
    size = len(content)
    at = int(rng.integers(size))
    end = min(size, at + int(rng.integers(1, 1 + max(1, size // 8))))
    stretch = content[at:end]
    kind = KINDS[int(rng.integers(len(KINDS)))]
    if kind in ("bit", "head bit", "tail bit"):
        place = {"bit": at, "head bit": at % 200, "tail bit": size - 1 - at % 200}[kind]
        place = min(max(place, 0), size - 1)
        flipped = bytes([content[place] ^ 1 << int(rng.integers(8))])
        return kind, content[:place] + flipped + content[place + 1 :]
    if kind in ("header", "extreme"):
        place = at % min(size, 200) if kind == "header" else at
        extreme = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
        return kind, content[:place] + extreme + content[place + len(extreme) :]
    if kind == "splice":
        other = int(rng.integers(size))
        return kind, content[:other] + stretch + content[other + len(stretch) :]
    changed = {
        "cut": content[:at],
        "removed": content[:at] + content[end:],
        "doubled": content[:end] + stretch + content[end:],
        "blanked": content[:at] + bytes(end - at) + content[end:],
        "trailing": content + stretch,
        "noise": content[:at] + rng.bytes(end - at) + content[end:],
    }
    return kind, changed[kind]


KINDS = (
    "bit", "head bit", "tail bit", "header", "extreme", "splice",
    "cut", "removed", "doubled", "blanked", "trailing", "noise",
)  # fmt: skip


def main(args: Fuzz) -> int:
    """Damage, read, count; 1 if any case failed."""
    args = quickened(args, **QUICK) if args.quick else args
    start = time.perf_counter()
    chosen = {n: s for n, s in samples().items() if not args.only or n in args.only}
    records = []
    for place, (name, sample) in enumerate(chosen.items()):
        rng = np.random.default_rng((args.seed, place))
        records.append(run(name, sample, -(-args.files // len(chosen)), rng, args))
    table = rich_table(COLUMNS, records, title="Damaged files")
    show(table)
    failures = [f for r in records for f in r.pop("failures")]
    for failure in failures[:20]:
        print(failure)
    total = {o: sum(r[o] for r in records) for o in ("files", *OUTCOMES)}
    append(args.results, {"readers": records, "failures": failures, **total, **stamp(args, start)})
    return 1 if failures else 0


def run(
    name: str, sample: Sample, count: int, rng: np.random.Generator, args: Fuzz
) -> dict[str, Any]:
    """Read `count` damaged versions of a sample; how many came to what."""
    cases = []
    for _ in range(count):
        file = list(sample.files)[int(rng.integers(len(sample.files)))]
        cases.append((file, *damaged(sample.files[file], rng)))
    counts: collections.Counter[str] = collections.Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        todo = list(range(count))
        while todo:
            answers = read_batch(sample, [cases[i] for i in todo[:_BATCH]], Path(folder), args)
            for i, (outcome, said) in zip(todo, answers, strict=False):
                file, kind, content = cases[i]
                silent = file in sample.checked and content != sample.files[file]
                if outcome == "changed" and silent:
                    outcome, said = "failed", "the data changed unseen"
                counts[outcome] += 1
                if outcome == "failed":
                    failures.append(f"{name} {file} {kind} (case {i}): {said}")
            todo = todo[len(answers) :]
    return {"reader": name, "files": count, "failures": failures} | {o: counts[o] for o in OUTCOMES}


def read_batch(
    sample: Sample, cases: list[tuple[str, str, bytes]], folder: Path, args: Fuzz
) -> list[tuple[str, str]]:
    """Outcomes of the first cases, up to one that ended the child, which is failed."""
    paths = [write(sample, folder / "whole")]
    for number, (file, _, content) in enumerate(cases):
        changed = sample._replace(files=dict(sample.files) | {file: content})
        paths.append(write(changed, folder / str(number)))
    job = {
        "dataset": sample.dataset,
        "paths": [str(path) for path in paths],
        "memory": args.memory,
        "seconds": args.seconds,
    }
    # No less than its cases have: on a busy machine each may take long, and none is to blame.
    code, out = child(json.dumps(job), args.seconds * len(paths))
    answers = [(str(outcome), str(said)) for outcome, said in map(json.loads, out.splitlines())]
    if len(answers) < len(cases):
        answers.append(("failed", f"the child ended, status {code}"))
    return answers


def child(job: str, seconds: float) -> tuple[int | None, str]:
    """The exit status (None if it had to be stopped) and whole lines of what the child wrote."""
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "experiments.robustness.reading"]
    process = subprocess.Popen(
        command, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, code = process.communicate(job, timeout=seconds)[0], process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        out, code = process.communicate()[0], None
    return code, out[: out.rfind("\n") + 1]


COLUMNS = fields(reader="{}", **dict.fromkeys(("files", *OUTCOMES), "{}"))


if __name__ == "__main__":
    command(main, Fuzz)
