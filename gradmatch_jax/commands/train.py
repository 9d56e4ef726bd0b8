"""`gradmatch-jax train`: one run, with a bar while it goes and a line when it is done."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.commands.distributed import Distributed, refuse_incomplete, together
from gradmatch_jax.commands.groups import flags_of
from gradmatch_jax.commands.progress import epochs_shown
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_path
from gradmatch_jax.training.config import RunConfig, TrainConfig, resolve
from gradmatch_jax.training.files import read_json
from gradmatch_jax.training.loggers import LogName, check_log

CONFIG = "config.json"


@dataclass(frozen=True)
class TrainCommand(Distributed, TrainConfig):
    """Train on a weighted subset of the data."""

    out: Path | None = None
    """Folder for config.json, metrics.jsonl, result.json and checkpoints; a killed run resumes
    there. None keeps nothing."""
    config: Path | None = None
    """A run's config.json, or its folder: its settings are taken where none is named here."""
    log: tuple[LogName, ...] = ()
    """Write metrics.jsonl's rows there as well: csv (metrics.csv), tensorboard, wandb (extras of
    those names; WANDB_MODE=offline keeps it here)."""
    compilation_cache: CompilationCache = None


def expanded(arguments: Sequence[str]) -> list[str]:
    """A command line with the settings of its --config written out, but those that it names.

    Where another strategy is named, what does not apply to that is left out.

    Raises:
        UserError: the file is no run's configuration.
    """
    words = [word for argument in arguments for word in _split(argument)]
    if words[:1] != ["train"] or "--config" not in words[:-1]:
        return list(arguments)
    file = as_path("--config", words[words.index("--config") + 1])
    file = file / CONFIG if file.is_dir() else file
    found = read_json(file)
    if found is None:
        raise UserError(f"--config {file} is no config.json of a run")
    mine = named(words)
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    values = {k: v for k, v in found.items() if k in known - mine}
    if "strategy" in mine:
        values["strategy"] = words[words.index("--strategy") + 1]
    applies = resolve(TrainConfig(**values), strict=False).applies
    kept = {k: v for k, v in values.items() if k in applies - mine}
    return ["train", *flags_of(kept), *words[1:]]


def _split(argument: str) -> list[str]:
    """--name=value as two words."""
    return argument.split("=", 1) if argument.startswith("--") else [argument]


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
    check_log(command.log, command.out)
    refuse_incomplete(command)
    keep_compiled(command.compilation_cache)
    with together(command, command.out is not None, lambda: getattr(stop, "number", 0)):
        _train(config, command, stop)


def _train(config: RunConfig, command: TrainCommand, stop: Callable[[], bool]) -> None:
    """The run, and what there is to say of it; of several processes the first says it."""
    from rich.console import Console

    from gradmatch_jax.measure.versions import device_name
    from gradmatch_jax.training.loop import train
    from gradmatch_jax.training.processes import first

    console = Console(quiet=not first())

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    share = f" on {config.fraction:g} of" if config.entry.regime.budgeted else " on"
    say(f"{config.strategy}{share} {config.dataset}, on {device_name()}; compiling first")
    if not first():
        train(config, command.out, stop=stop)
        return
    with epochs_shown(console) as on_epoch:
        result = train(
            config, command.out, on_epoch=on_epoch, on_note=say, stop=stop, log=command.log
        )
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
