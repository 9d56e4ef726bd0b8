"""`gradmatch-jax train`: one run, with a bar while it goes and a line when it is done."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.commands.distributed import Distributed, refuse_incomplete, together
from gradmatch_jax.commands.groups import named
from gradmatch_jax.commands.progress import DEFAULTS, epochs_shown, make_console
from gradmatch_jax.training.config import RunConfig, TrainConfig, resolve
from gradmatch_jax.training.loggers import LogName, check_log


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
    config = resolve(TrainConfig(**fields), given=named(arguments, TrainConfig))
    check_log(command.log, command.out)
    refuse_incomplete(command)
    keep_compiled(command.compilation_cache)
    with together(command, command.out is not None, lambda: getattr(stop, "number", 0)):
        _train(config, command, stop)


def _train(config: RunConfig, command: TrainCommand, stop: Callable[[], bool]) -> None:
    """The run, and what there is to say of it; of several processes the first says it."""
    from gradmatch_jax.measure.versions import device_name
    from gradmatch_jax.training.loop import train
    from gradmatch_jax.training.processes import first

    console = make_console(quiet=not first())

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    share = f" on {config.fraction:g} of" if config.entry.regime.budgeted else " on"
    say(f"{config.strategy}{share} {config.dataset}, on {device_name()}; compiling first")
    if command.model is None and command.epochs is None:
        say(DEFAULTS)
    if not first():
        train(config, command.out, stop=stop)
        return
    with epochs_shown(console) as on_epoch:
        result = train(
            config, command.out, on_epoch=on_epoch, on_note=say, stop=stop, log=command.log
        )
    say(in_words(result.summary))
    if result.summary.get("warning"):
        console.print(f"warning: {result.summary['warning']}", style="yellow", soft_wrap=True)
    if command.out is not None:
        say(f"records in {command.out}")


def in_words(summary: dict[str, Any]) -> str:
    """A result in a sentence."""
    name = summary["strategy"] + ("-warm" if summary["warm"] else "")
    return (
        f"{name} on {summary['subset_size']} of {summary['train_size']} examples: "
        f"test accuracy {summary['test_accuracy']:.2f} % in "
        f"{summary['train_seconds']:.1f} s training + {summary['selection_seconds']:.1f} s "
        f"selection (compiling {summary['compile_seconds']:.1f} s apart) on {summary['device']}"
    )
