"""Mutants: the package with one fault each, and the tests that must notice it.

    python tests/mutants.py             # all of them, in `.ci/more`
    python tests/mutants.py --quick     # those that `.ci/run` takes the time for
    python tests/mutants.py momentum    # those whose name says so

Each fault is one edit, made in a temporary copy; the copy's tests then run. A mutant is "killed"
where a test fails, "SURVIVED" where none does, and "STALE" where the code it edits is gone: both
end the command with status 1. The tests must pass without a fault: tried first, but for `--passed`.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
PARTS = ("gradmatch_jax", "tests", "examples", "experiments", "pyproject.toml", "README.md")


class Mutant(NamedTuple):
    """One fault: in a function of a file, each edit replaces a text that stands there once."""

    name: str
    file: str  # in the package
    function: str
    edits: tuple[tuple[str, str], ...]
    tests: str  # arguments of pytest: the tests that must notice
    quick: bool = True


def _solver(name: str, file: str, function: str, old: str, new: str) -> Mutant:
    return Mutant(name, f"solvers/{file}.py", function, ((old, new),), FORMS, quick=False)


def _training(name: str, file: str, function: str, old: str, new: str, tests: str) -> Mutant:
    return Mutant(name, f"training/{file}.py", function, ((old, new),), tests)


WIRING = "tests/training/test_wiring.py"
OMP = "tests/solvers"
FORMS = "tests/solvers/test_properties.py"

MUTANTS = (
    Mutant(
        "CRAIG's weights at mean 1 once a selection, not in each mini-batch",
        "strategies/craig.py", "craig", (('weighting="batch"', 'weighting="selection"'),), WIRING,
    ),
    Mutant(
        "CRAIGPB's weights at mean 1 once a selection, not in each mini-batch",
        "strategies/craig.py", "craig_pb", (('weighting="batch"', 'weighting="selection"'),),
        WIRING,
    ),
    Mutant(
        "InfoBatch's weights rescaled to mean 1",
        "strategies/infobatch.py", "infobatch", (('weighting="none"', 'weighting="selection"'),),
        WIRING,
    ),
    _training(
        "config.weighting ignored", "build", "_strategy",
        "return scaled(strategy, config.weighting)", "return strategy", WIRING,
    ),
    _training(
        "augmentation never on", "build", "_all_steps",
        "augmented=config.augment", "augmented=False and config.augment", WIRING,
    ),
    _training(
        "momentum 0 from the configuration", "build", "_all_steps",
        "momentum=config.momentum", "momentum=0.0", WIRING,
    ),
    _training(
        "weight decay 0 from the configuration", "build", "_all_steps",
        "weight_decay=config.weight_decay", "weight_decay=0.0", WIRING,
    ),
    _training(
        "momentum 0 in the step", "steps", "_programs",
        "optax.trace(momentum)", "optax.trace(0.0)", "tests/training/test_steps.py -k torchs",
    ),
    _training(
        "weight decay 0 in the step", "steps", "_programs",
        "optax.add_decayed_weights(weight_decay)", "optax.add_decayed_weights(0.0)",
        "tests/training/test_steps.py -k torchs",
    ),
    Mutant(
        "a strategy's settings left at their defaults",
        "strategies/registry.py", "build_strategy", (("if name in wanted", "if False"),),
        "tests/strategies/test_strategies.py -k settings_reach",
    ),
    _training(
        "observe not called", "epoch", "advance",
        "strategy_state = run.strategy.observe(strategy_state, seen)", "pass", WIRING,
    ),
    Mutant(
        "the selection of the epoch before is trained on",
        "training/epoch.py", "advance",
        (
            ("    row = {", "    old = state.selection\n    row = {"),
            (
                "examples_of(epoch, state.selection,",
                "examples_of(epoch, old if int(old.size) else state.selection,",
            ),
        ),
        WIRING,
    ),
    _training(
        "an epoch gone on with forgets its beginning", "epoch", "advance",
        "begun=None if left is None else left.begun", "begun=None",
        "tests/training/test_left.py -k alone[infobatch]",
    ),
    Mutant(
        "OMP: the residual moves the wrong way",
        "solvers/gram_form.py", "_advance",
        (("state.residual - y[", "state.residual + y["),), OMP, quick=False,
    ),
    Mutant(
        "OMP: candidates' remainders stay as they were made",
        "solvers/gram_form.py", "_advance",
        (("rows - across[:, :, None] * column[:, None, :]", "rows"),), OMP, quick=False,
    ),
    Mutant(
        "OMP: atoms that are not free are picked",
        "solvers/gram_form.py", "_gain",
        (("const.problem.free & ~", "(const.problem.free | True) & ~"),), OMP, quick=False,
    ),
    Mutant(
        "OMP: the ridge is dropped from the pivots",
        "solvers/gram_columns.py", "constants_of",
        (("problem.squares() + ", "problem.squares() + 0.0 * "),), OMP, quick=False,
    ),
    Mutant(
        "OMP: no atom leaves",
        "solvers/gram_form.py", "_looked_ahead",
        (("now < -tolerance", "now < -jnp.inf"),), OMP, quick=False,
    ),
    # What the forms on residuals keep beside their matrix heals: one made afresh replaces it. These
    # faults are in what nothing replaces.
    _solver(
        "forms on residuals: atoms that are not free are picked", "residual_loop", "_next_move",
        "const.free & ~chosen", "(const.free | True) & ~chosen",
    ),
    _solver(
        "forms on residuals: a chosen atom is picked again", "residual_loop", "_next_move",
        "const.free & ~chosen", "const.free",
    ),
    _solver(
        "forms on residuals: no atom leaves", "residual_loop", "_next_move",
        "(scores < -rounding)", "(scores < -jnp.inf)",
    ),
    _solver(
        "the first to leave is the last", "moves", "next_move",
        "first = largest(-way)", "first = largest(jnp.where(negative, way, -jnp.inf))",
    ),
    _solver(
        "feature form: the matrix moves the wrong way", "feature_form", "_follow",
        "owe(recent.matrix, place, atom, sign)", "owe(recent.matrix, place, atom, -sign)",
    ),
    _solver(
        "feature form: the ridge is dropped from the matrix", "feature_form", "_start",
        "_Settled(lam * eye,", "_Settled(0.0 * lam * eye,",
    ),
    _solver(
        "support form: the residual moves the wrong way", "support_form", "_solution",
        "const.target - fitted", "const.target + fitted",
    ),
    _solver(
        "support form: the ridge is dropped from the normal equations", "support_form",
        "_correction", "* (own - recent.weights)", "* own",
    ),
    _solver(
        "support form: an atom that leaves keeps its slot", "support_form", "_follow",
        "jnp.where(leaves, -1, filled)", "filled",
    ),
)  # fmt: skip


def mutate(source: str, mutant: Mutant) -> str | None:
    """`source` with the fault, or None where an edit's text does not stand there exactly once."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == mutant.function:
            lines = source.splitlines(keepends=True)
            body = "".join(lines[node.lineno - 1 : node.end_lineno])
            for old, new in mutant.edits:
                if body.count(old) != 1:
                    return None
                body = body.replace(old, new)
            return "".join([*lines[: node.lineno - 1], body, *lines[node.end_lineno :]])
    return None


def passes(folder: Path, tests: str) -> bool:
    """Whether the copy's tests pass.

    Raises:
        RuntimeError: they did not run at all.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-m", "", *tests.split()]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


def verdict(folder: Path, mutant: Mutant) -> str:
    """What became of a mutant; the copy is as before afterwards."""
    file = folder / "gradmatch_jax" / mutant.file
    source = file.read_text(encoding="utf-8") if file.is_file() else ""
    mutated = mutate(source, mutant)
    if mutated is None:
        return "STALE"
    file.write_text(mutated, encoding="utf-8")
    try:
        return "SURVIVED" if passes(folder, mutant.tests) else "killed"
    finally:
        file.write_text(source, encoding="utf-8")


def copied(folder: Path) -> Path:
    """A copy of what the tests read, in `folder`."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder


def judged(chosen: list[Mutant], copies: Queue[Path], *, passed: bool) -> list[str]:
    """The verdicts on mutants, each printed as it falls: in each copy one at a time.

    Raises:
        RuntimeError: tests fail without a fault.
    """

    def lent(work: Callable[[Path], T]) -> T:
        folder = copies.get()
        try:
            return work(folder)
        finally:
            copies.put(folder)

    def one(mutant: Mutant) -> str:
        start = time.perf_counter()
        found = lent(lambda folder: verdict(folder, mutant))
        print(f"{found:9} {time.perf_counter() - start:5.0f} s  {mutant.name}", flush=True)
        return found

    with ThreadPoolExecutor(copies.qsize()) as pool:
        every = sorted({mutant.tests for mutant in chosen} if not passed else ())
        sound = pool.map(lambda tests: lent(lambda folder: passes(folder, tests)), every)
        if failing := [tests for tests, well in zip(every, sound, strict=True) if not well]:
            raise RuntimeError(f"{', '.join(failing)} fails without a fault")
        return list(pool.map(one, chosen))


def main() -> int:
    """Run the mutants that were asked for, one a core; the exit status."""
    parser = argparse.ArgumentParser(description="The package with one fault each.")
    parser.add_argument("words", nargs="*", help="only mutants whose name holds one of these")
    parser.add_argument("--quick", action="store_true", help="only those that CI runs")
    parser.add_argument("--passed", action="store_true", help="the tests have just passed here")
    asked = parser.parse_args()
    chosen = [
        mutant
        for mutant in MUTANTS
        if (mutant.quick or not asked.quick)
        and (not asked.words or any(word in mutant.name for word in asked.words))
    ]
    if not chosen:
        parser.error(f"no mutant's name holds {' or '.join(asked.words)}")
    copies: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as temporary:
        for core in range(min(os.cpu_count() or 1, len(chosen))):
            folder = Path(temporary) / str(core)
            folder.mkdir()
            copies.put(copied(folder))
        try:
            verdicts = judged(chosen, copies, passed=asked.passed)
        except RuntimeError as error:
            print(error)
            return 1
    killed = verdicts.count("killed")
    print(f"{killed} of {len(verdicts)} mutants killed")
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
