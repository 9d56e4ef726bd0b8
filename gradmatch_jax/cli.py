"""The command `gradmatch-jax`. Only what a subcommand needs is imported, when it runs."""

import contextlib
import gc
import io
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from gradmatch_jax.commands.signals import Asked, answered, status, unread
from gradmatch_jax.errors import Stopped, UserError, blocked

EXAMPLES = {
    "train": (
        "gradmatch-jax train --strategy gradmatch --fraction 0.05 --warm --out runs/a",
        "gradmatch-jax train --config runs/a/config.json --seed 1 --out runs/b",
    ),
    "compare": (
        "gradmatch-jax compare",
        "gradmatch-jax compare --dataset cifar10 --data-dir ~/cifar "
        "--strategies gradmatch-pb-warm adaptive-random --fractions 0.1 0.3",
    ),
    "predict": (
        "gradmatch-jax predict --run runs/a --input x.npz --out p.npz",
        "gradmatch-jax predict --run runs/a --export a.safetensors",
    ),
    "select": (
        "gradmatch-jax select --input pass.npz --fraction 0.05 --out chosen.npz",
        "gradmatch-jax select --strategy craig --input pass.npz --budget 5000 --out chosen.npz",
    ),
    "runs": ("gradmatch-jax runs", "gradmatch-jax runs runs/compare/digits"),
    "strategies": ("gradmatch-jax strategies",),
}


def main() -> None:
    """Entry point: exit status 2 and one line on bad input, 130 or 143 where a signal ends it."""
    # What takes time to import is imported under it: a signal is answered then as well.
    with answered() as asked:
        try:
            _main(asked)
        except UserError as error:
            _leave(error, 2)
        except BrokenPipeError:
            sys.exit(unread())
        except OSError as error:
            _leave(blocked(error.filename or "a file", error), 2)
        except Stopped as error:
            _leave(error, status(asked.number))


def _leave(error: Exception, code: int) -> None:
    print(f"gradmatch-jax: {error}", file=sys.stderr)
    sys.exit(code)


def _main(asked: Asked) -> None:
    if sys.argv[1:] == ["--version"]:
        import gradmatch_jax

        print(f"gradmatch-jax {gradmatch_jax.__version__}")
        return
    _run(_parse(), asked)


def _refuse_empty(words: Sequence[str]) -> None:
    """No option has an empty value; a shell gives one for a variable that is not set.

    As a path it would be the working directory.
    """
    for i, word in enumerate(words):
        empty = not word.strip()
        if empty or (word.startswith("--") and word.endswith("=")):
            option = words[i - 1] if i and empty else word.strip(" =") or "the command"
            raise UserError(f"{option} is given an empty value; give it one or leave it out")


def _parse() -> Any:
    import tyro

    from gradmatch_jax.commands import groups, train
    from gradmatch_jax.commands.compare import CompareConfig
    from gradmatch_jax.commands.earlier import expanded
    from gradmatch_jax.commands.predict import PredictCommand
    from gradmatch_jax.commands.runs import RunsCommand
    from gradmatch_jax.commands.select import SelectConfig
    from gradmatch_jax.commands.strategies import StrategiesCommand

    parts: dict[type, tuple[tuple[str, tuple[str, ...]], ...]] = {
        train.TrainCommand: groups.GROUPS,
        CompareConfig: groups.GROUPS,
        PredictCommand: (),
        SelectConfig: groups.OF_A_FILE,
        RunsCommand: (),
        StrategiesCommand: (),
    }
    names = ("train", "compare", "predict", "select", "runs", "strategies")
    flat_of: dict[type, type] = {}
    union: Any = None
    for name, (cls, groups_of) in zip(names, parts.items(), strict=True):
        shown = groups.in_groups(cls, groups_of) if groups_of else cls
        flat_of[shown] = cls
        examples = EXAMPLES[name] if sys.argv[1:2] == [name] else ()
        text = groups.described(cls, *examples)
        one: Any = Annotated[shown, tyro.conf.subcommand(name, description=text)]
        union = one if union is None else union | one
    _refuse_empty(sys.argv[1:])
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            parsed = tyro.cli(
                union,
                prog="gradmatch-jax",
                args=expanded(sys.argv[1:]),
                description=(
                    "Train on a weighted subset of your data: GRAD-MATCH and its rivals in JAX. "
                    "`gradmatch-jax --version` says which."
                ),
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise UserError(_in_one_line(box.getvalue())) from None
    cls = flat_of[type(parsed)]
    return parsed if isinstance(parsed, cls) else groups.flat(cls, parsed)


KINDS = {"INT": "a whole number", "FLOAT": "a number"}  # as tyro writes them beside an option


def _in_one_line(box: str) -> str:
    """What tyro says of a bad command line, in a box of many lines, in one."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    parts = [[]]  # between the rules; where the terminal has no box, the title is the first
    for line in lines:
        if any(map(str.isalpha, line)):
            parts[-1].append(line)
        else:
            parts.append([])
    said = " ".join(parts[0] if "╭" in box or not parts[1:] else parts[1]).rstrip(".")
    options = (line.split()[0].rstrip(",") for line in lines if re.match("--[a-z]", line))
    flags = list(dict.fromkeys(options))
    if said.startswith("Missing value"):
        said = f"{said.split(chr(39))[1]} needs a value"
    elif said.startswith("Missing"):
        said = f"missing {', '.join(flags)}"
    elif unfit := re.match(r"Error parsing (--\S+): .*?(\[?'.*)$", said):
        flag, value = unfit.groups()
        kinds = [kind for mark, kind in KINDS.items() if any(mark in line for line in lines)]
        said = f"{flag} must be {' or '.join(kinds)}, not {value}"
    elif flags and said.startswith("Unrecognized"):
        said += f"; did you mean {' or '.join(flags)}?"
    said += "".join(f"; {line}" for line in lines if line.startswith("Available"))
    return f"{said} (see --help)"


# Tracing makes objects by the hundred thousand, which live: by its own thresholds Python's
# collector looks through them all again and again, a twentieth of a second `compare`.
_COLLECT = (50_000, 20, 50)


def _run(command: Any, asked: Asked) -> None:
    gc.set_threshold(*_COLLECT)
    from gradmatch_jax.commands import compare, predict, runs, select, strategies, train

    if isinstance(command, train.TrainCommand):
        train.run(command, sys.argv, asked)
    elif isinstance(command, compare.CompareConfig):
        from gradmatch_jax.commands.progress import make_console

        compare.run(command, make_console(), asked)
    elif isinstance(command, runs.RunsCommand):
        runs.run(command)
    elif isinstance(command, predict.PredictCommand):
        predict.run(command)
    elif isinstance(command, select.SelectConfig):
        select.run(command)
    else:
        strategies.run()


if __name__ == "__main__":
    main()
