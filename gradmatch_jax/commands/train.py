"""`gradmatch-jax train`: one run, with a bar while it goes and a line when it is done."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.training.config import TrainConfig, resolve


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """Train on a weighted subset of the data."""

    out: Path | None = None
    """Folder for config.json, metrics.jsonl, result.json and checkpoints; a killed run resumes
    there. None keeps nothing."""
    compilation_cache: CompilationCache = None


def named(arguments: Sequence[str]) -> frozenset[str]:
    """The settings that a command line names, at whatever value.

    Example:
        >>> sorted(named(["train", "--lam", "0.5", "--no-warm", "--fraction=0.1"]))
        ['fraction', 'lam', 'warm']
    """
    flags = (a[2:].split("=")[0].replace("-", "_") for a in arguments if a.startswith("--"))
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    return frozenset({f if f in known else f.removeprefix("no_") for f in flags} & known)


def run(
    command: TrainCommand,
    arguments: Sequence[str],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train, and say what came of it.

    Args:
        command: the settings and the folder.
        arguments: of the command line, which say what was named.
        stop: as `train`'s.

    Raises:
        UserError: as `train`.
        Stopped: as `train`.
    """
    fields = {f.name: getattr(command, f.name) for f in dataclasses.fields(TrainConfig)}
    config = resolve(TrainConfig(**fields), given=named(arguments))
    keep_compiled(command.compilation_cache)
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from gradmatch_jax.training.loop import train

    console = Console()
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("epochs", total=None, note="compiling")

        def on_epoch(row: dict[str, Any], total: int) -> None:
            note = f"loss {row['train_loss']:.3f}"
            if "test_accuracy" in row:
                note += f"  test {row['test_accuracy']:.2f} %"
            progress.update(task, total=total, completed=row["epoch"] + 1, note=note)

        def on_note(text: str) -> None:
            console.print(text, soft_wrap=True, highlight=False)

        result = train(config, command.out, on_epoch=on_epoch, on_note=on_note, stop=stop)
    console.print(in_words(result.summary))
    if result.summary.get("warning"):
        console.print(f"warning: {result.summary['warning']}", style="yellow", highlight=False)
    if command.out is not None:
        console.print(f"records in {command.out}")


def in_words(summary: dict[str, Any]) -> str:
    """A result in a sentence."""
    name = summary["strategy"] + ("-warm" if summary["warm"] else "")
    return (
        f"{name} on {summary['subset_size']} of {summary['train_size']} examples: "
        f"test accuracy {summary['test_accuracy']:.2f} % in "
        f"{summary['train_seconds']:.1f} s training + {summary['selection_seconds']:.1f} s "
        f"selection (compiling {summary['compile_seconds']:.1f} s apart) on {summary['device']}"
    )
