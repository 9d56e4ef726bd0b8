"""The command `gradmatch-jax`. Only what a subcommand needs is imported, when it runs."""

import contextlib
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import gradmatch_jax
from gradmatch_jax.commands.select import SelectConfig
from gradmatch_jax.errors import UserError
from gradmatch_jax.sweep import CompareConfig
from gradmatch_jax.training.config import TrainConfig


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """Train on a weighted subset of the data."""

    out: Path | None = None
    """Folder for config.json, metrics.jsonl, result.json and checkpoints; a killed run resumes
    there. None keeps nothing."""


@dataclass(frozen=True)
class StrategiesCommand:
    """List every strategy with its source."""


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
        _train(command)
    elif isinstance(command, CompareConfig):
        from rich.console import Console

        from gradmatch_jax.sweep import run

        run(command, Console())
    elif isinstance(command, SelectConfig):
        from gradmatch_jax.commands.select import select_file

        facts = select_file(command)
        print(
            f"{command.out}: {facts['size']} examples, {facts['num_matched']} matched, "
            f"matching error {facts['matching_error']:.4f}"
        )
    else:
        _strategies()


def _train(command: TrainCommand) -> None:
    import dataclasses

    from gradmatch_jax.training.config import resolve

    fields = {f.name: getattr(command, f.name) for f in dataclasses.fields(TrainConfig)}
    config = resolve(TrainConfig(**fields))  # before JAX loads: mistakes answer at once
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from gradmatch_jax.training.loop import train

    console = Console()
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("epochs", total=None, note="")

        def on_epoch(row, total):
            note = f"loss {row['train_loss']:.3f}"
            if "test_accuracy" in row:
                note += f"  test {row['test_accuracy']:.2f} %"
            progress.update(task, total=total, completed=row["epoch"] + 1, note=note)

        result = train(config, command.out, on_epoch=on_epoch)
    summary = result.summary
    name = summary["strategy"] + ("-warm" if summary["warm"] else "")
    console.print(
        f"{name} on {summary['subset_size']} of {summary['train_size']} examples: "
        f"test accuracy {summary['test_accuracy']:.2f} % in "
        f"{summary['train_seconds']:.1f} s training + {summary['selection_seconds']:.1f} s "
        f"selection (compiling {summary['compile_seconds']:.1f} s apart) on {summary['device']}"
    )
    if command.out is not None:
        console.print(f"records in {command.out}")


def _strategies() -> None:
    from rich.console import Console
    from rich.table import Table

    from gradmatch_jax.strategies import STRATEGIES

    table = Table("strategy", "what it selects", "source", box=None)
    for name, entry in STRATEGIES.items():
        table.add_row(name, entry.summary, entry.source)
    console = Console()
    console.print(table)
    console.print("\nNAME-warm (or --warm): full epochs first; kappa sets the split.")


if __name__ == "__main__":
    main()
