"""The command `gradmatch-jax`. Only what a subcommand needs is imported, when it runs."""

import contextlib
import io
import re
import sys
from typing import Annotated, Any

from gradmatch_jax.commands.signals import Asked, answered, status
from gradmatch_jax.errors import Stopped, UserError, blocked


def main() -> None:
    """Entry point: exit status 2 and one line on bad input, 130 or 143 where a signal ends it."""
    # What takes time to import is imported under it: a signal is answered then as well.
    with answered() as asked:
        try:
            _main(asked)
        except UserError as error:
            _leave(error, 2)
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


def _parse() -> Any:
    import tyro

    from gradmatch_jax.commands.compare import CompareConfig
    from gradmatch_jax.commands.predict import PredictCommand
    from gradmatch_jax.commands.select import SelectConfig
    from gradmatch_jax.commands.strategies import StrategiesCommand
    from gradmatch_jax.commands.train import TrainCommand

    command = (
        Annotated[TrainCommand, tyro.conf.subcommand("train")]
        | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
        | Annotated[PredictCommand, tyro.conf.subcommand("predict")]
        | Annotated[SelectConfig, tyro.conf.subcommand("select")]
        | Annotated[StrategiesCommand, tyro.conf.subcommand("strategies")]
    )
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                command,  # type: ignore[arg-type]
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


def _run(command: Any, asked: Asked) -> None:
    from gradmatch_jax.commands import compare, predict, select, strategies, train

    if isinstance(command, train.TrainCommand):
        train.run(command, sys.argv, asked)
    elif isinstance(command, compare.CompareConfig):
        from rich.console import Console

        compare.run(command, Console(), asked)
    elif isinstance(command, predict.PredictCommand):
        predict.run(command)
    elif isinstance(command, select.SelectConfig):
        select.run(command)
    else:
        strategies.run()


if __name__ == "__main__":
    main()
