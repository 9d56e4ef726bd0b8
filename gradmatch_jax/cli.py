"""The command `gradmatch-jax`. Only what a subcommand needs is imported, when it runs."""

import contextlib
import io
import re
import sys
from typing import Annotated

import tyro

import gradmatch_jax
from gradmatch_jax.commands import compare, select, strategies, train
from gradmatch_jax.commands.compare import CompareConfig
from gradmatch_jax.commands.select import SelectConfig
from gradmatch_jax.commands.strategies import StrategiesCommand
from gradmatch_jax.commands.train import TrainCommand
from gradmatch_jax.errors import UserError

Command = (
    Annotated[TrainCommand, tyro.conf.subcommand("train")]
    | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
    | Annotated[SelectConfig, tyro.conf.subcommand("select")]
    | Annotated[StrategiesCommand, tyro.conf.subcommand("strategies")]
)


def main() -> None:
    """Entry point: exit status 2 and one line on bad input."""
    if sys.argv[1:] == ["--version"]:
        print(f"gradmatch-jax {gradmatch_jax.__version__}")
        return
    try:
        _run(_parse())
    except UserError as error:
        print(f"gradmatch-jax: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("gradmatch-jax: interrupted; the same command resumes a run with --out")
        sys.exit(130)


def _parse() -> Command:
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                Command,  # type: ignore[arg-type]
                prog="gradmatch-jax",
                description=(
                    "Train on a weighted subset of your data: GRAD-MATCH and its rivals in JAX. "
                    "`gradmatch-jax --version` says which."
                ),
                config=(tyro.conf.OmitSubcommandPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise UserError(_in_one_line(box.getvalue())) from None


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
    flags = list(dict.fromkeys(line.split()[0] for line in lines if re.match("--[a-z]", line)))
    if said.startswith("Missing"):
        said = f"missing {', '.join(flags)}"
    elif flags and said.startswith("Unrecognized"):
        said += f"; did you mean {' or '.join(flags)}?"
    said += "".join(f"; {line}" for line in lines if line.startswith("Available"))
    return f"{said} (see --help)"


def _run(command: Command) -> None:
    if isinstance(command, TrainCommand):
        train.run(command, sys.argv)
    elif isinstance(command, CompareConfig):
        from rich.console import Console

        compare.run(command, Console())
    elif isinstance(command, SelectConfig):
        select.run(command)
    else:
        strategies.run()


if __name__ == "__main__":
    main()
