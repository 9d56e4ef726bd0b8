"""A newcomer's first hour: what `docs/getting-started.md` has one type, typed in order and timed.

    python -m experiments.first_hour            # in a fresh clone, set up by uv with an empty cache
    python -m experiments.first_hour --own      # with this environment: no network is needed

The commands and the Python are the page's own, and so is their data: pictures and texts that are
embedded, written to an .npz and to .tsv files. All of it happens in a temporary folder, nothing
compiled or downloaded before is used, and one record has what was typed and the seconds of each by
the clock on the wall.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.command import command, quickened
from experiments.records import append, stamp
from gradmatch_jax.errors import UserError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "getting-started.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = "uv run gradmatch-jax"
BEGIN, END = "<!-- first hour -->", "<!-- end -->"  # around the page's table, which main writes
# What a rehearsal puts behind a command: it is not to take long.
SHORT = {
    "train": "--epochs 2",
    "compare": "--epochs 2 --strategies random --fractions 0.2 --seeds 0",
}


@dataclass(frozen=True)
class FirstHour:
    """Where it is typed."""

    own: bool = False
    """In this environment, not in one that uv sets up."""
    keep: Path | None = None
    """A folder to do it in, which is left: its reports are what the page shows. None: a temporary
    one."""
    quick: bool = False
    """Two epochs of everything, in this environment: a rehearsal."""
    results: Path = Path("results/first_hour.jsonl")


class Step(NamedTuple):
    """Something that the page has one type."""

    kind: str  # "bash", a line of it, or "python", a block
    text: str

    @property
    def named(self) -> str:
        """As the record calls it."""
        if self.kind == "python":
            return f"Python: {self.text.strip().splitlines()[0].lstrip('# ')}"
        return f"`{self.text.removeprefix('uv run ')}`"


def steps(page: str) -> Iterator[Step]:
    """What is typed, from top to bottom; how uv is installed is left out."""
    for kind, code in BLOCK.findall(page):
        if kind == "python":
            yield Step(kind, code)
        elif kind == "bash":
            yield from (Step(kind, line) for line in code.splitlines() if OURS in line)


def main(args: FirstHour) -> None:
    """Type the page, and append the record."""
    args = quickened(args, own=True) if args.quick else args
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if args.keep is None else args.keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        place = folder if args.own else cloned(folder)
        done = [typed(step, place, folder, args) for step in steps(PAGE.read_text("utf-8"))]
        record = {"steps": done, "set_up_by": "here" if args.own else "uv"}
    record["load"] = os.getloadavg()[2]  # of 15 minutes: whether others were at work
    record |= stamp(args, start)
    append(args.results, record)
    if not args.quick:
        PAGE.write_text(with_table(PAGE.read_text("utf-8"), record), encoding="utf-8")


def with_table(page: str, record: dict[str, Any]) -> str:
    """The page with the seconds of a record where it has such a table."""
    rows = "".join(f"| {step['typed']} | {step['seconds']:.0f} |\n" for step in record["steps"])
    total = sum(step["seconds"] for step in record["steps"])
    cores = f"{record['cores']} core{'s' if record['cores'] > 1 else ''}"
    table = (
        f"{BEGIN}\n| on {cores} of {record['device']}, load {record['load']:.1f}; set up "
        f"{'by uv' if record['set_up_by'] == 'uv' else 'before'} | seconds |\n| --- | ---: |\n"
        f"{rows}| all of it | {total:.0f} |\n{END}"
    )
    return re.sub(f"{BEGIN}.*?{END}", lambda _: table, page, count=1, flags=re.DOTALL)


def cloned(folder: Path) -> Path:
    """A clone of this checkout's last revision.

    Raises:
        UserError: there is no uv or no git, or this is no checkout.
    """
    try:
        subprocess.run(["uv", "--version"], check=True, capture_output=True)
        subprocess.run(["git", "clone", "--quiet", ROOT, folder / "clone"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"a fresh clone needs git and uv ({error}); or pass --own") from error
    return folder / "clone"


def typed(step: Step, place: Path, folder: Path, args: FirstHour) -> dict[str, Any]:
    """Do a step; what was typed and how long it took.

    Raises:
        UserError: it failed; with the last that it said.
    """
    start = time.perf_counter()
    done = subprocess.run(
        words_of(step, args), cwd=place, env=environment(folder, args), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"{step.named!r} failed: {said[-1] if said else done.returncode}")
    print(f"{seconds:7.1f} s  {step.named}", flush=True)
    return {"typed": step.named, "seconds": seconds}


def words_of(step: Step, args: FirstHour) -> list[str]:
    """What runs."""
    if step.kind == "python":
        return [*([sys.executable] if args.own else ["uv", "run", "python"]), "-c", step.text]
    words = shlex.split(step.text)
    rest = words[len(OURS.split()) :]
    rest += shlex.split(SHORT.get(rest[0], "")) if args.quick else []
    return [sys.executable, "-m", "gradmatch_jax.cli", *rest] if args.own else words


def environment(folder: Path, args: FirstHour) -> dict[str, str]:
    """That of someone who comes new: nothing is compiled, nothing is cached."""
    ours = ("JAX_", "XLA_", "GRADMATCH_", "PYTHONPATH", "VIRTUAL_ENV", "UV_CACHE", "UV_PROJECT")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    kept["XDG_CACHE_HOME"] = str(folder / "cache")  # compiled programs, and uv's packages
    if args.own:
        return kept | {"PYTHONPATH": str(ROOT)}
    return {"UV_PYTHON": sys.executable} | kept


if __name__ == "__main__":
    command(main, FirstHour)
