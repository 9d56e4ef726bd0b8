"""`--config FILE` of `train` and `compare`: the settings of earlier runs as a command line."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradmatch_jax.commands.compare import RECORD, SEVERAL, CompareConfig
from gradmatch_jax.commands.groups import flags_of, named
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_path
from gradmatch_jax.settings import from_values
from gradmatch_jax.strategies.registry import STRATEGIES, split_name
from gradmatch_jax.strategies.settings import fill_of
from gradmatch_jax.training.config import CONFIG, FACTS, Settings, TrainConfig, resolve
from gradmatch_jax.training.files import read_json


def expanded(arguments: Sequence[str]) -> list[str]:
    """A command line with the settings of its --config written out, but those that it names.

    `train` takes those of a run. `compare` takes of a run what its own runs share, and of an
    earlier comparison all of it. What does not apply to the strategy, or to none of those compared,
    is left out.

    Raises:
        UserError: the file is no run's configuration, and no comparison's.
    """
    words = [word for argument in arguments for word in _split(argument)]
    if words[:1] not in (["train"], ["compare"]) or "--config" not in words[:-1]:
        return list(arguments)
    last = len(words) - 1 - words[::-1].index("--config")
    file = as_path("--config", "".join(words[last + 1 : last + 2]))
    taken = _of_a_run if words[0] == "train" else _of_a_comparison
    return [words[0], *flags_of(taken(file, words)), *words[1:]]


def _of_a_run(file: Path, words: Sequence[str]) -> dict[str, Any]:
    """What a run of `train` takes from the file."""
    mine = named(words, TrainConfig)
    kept = {k: v for k, v in _settings_in(_inside(file, CONFIG)).items() if k not in mine}
    config = TrainConfig(**kept)
    for name in _values(words, "--strategy")[:1]:
        config = dataclasses.replace(config, strategy=name)
    applies = resolve(config, strict=False).applies
    return {k: v for k, v in kept.items() if k in applies}


def _of_a_comparison(file: Path, words: Sequence[str]) -> dict[str, Any]:
    """What a comparison takes: of a run neither its strategy, whether that is warm, nor its share
    and seed, for a comparison has several."""
    mine = named(words, CompareConfig)
    file = _inside(file, CONFIG, RECORD)
    found: dict[str, Any] = (
        _compared_in(file) if file.name == RECORD else {**_settings_in(file), "warm": False}
    )
    kept = {k: v for k, v in found.items() if k not in mine}
    shared = {f.name: kept[f.name] for f in dataclasses.fields(Settings) if f.name in kept}
    own = kept.get("strategies", CompareConfig.strategies)
    strategies = ("full", *(_values(words, "--strategies") or own))
    base = from_values(TrainConfig, shared)
    runs = [resolve(dataclasses.replace(base, strategy=s), strict=False) for s in strategies]
    applies = frozenset().union(*(run.applies for run in runs))
    return {k: v for k, v in kept.items() if k in applies & shared.keys() or k in SEVERAL}


def _compared_in(file: Path) -> dict[str, Any]:
    """The settings of an earlier comparison, as its compare.json has them.

    Raises:
        UserError: it is none.
    """
    found = (read_json(file) or {}).get("settings")
    if not isinstance(found, dict) or not found.keys() >= set(SEVERAL):
        raise UserError(f"--config {file} is no whole {RECORD} of a comparison")
    return _fitting(file, CompareConfig, found)


def _inside(file: Path, *names: str) -> Path:
    """The file, or the first of these in a folder."""
    if not file.is_dir():
        return file
    return next((file / name for name in names if (file / name).is_file()), file / names[0])


def _settings_in(file: Path) -> dict[str, Any]:
    """A run's settings, as its config.json has them.

    Raises:
        UserError: it is none, or of another version.
    """
    found = read_json(file)
    if found is None or "strategy" not in found:
        raise UserError(f"--config {file} is no {CONFIG} of a run")
    values = _fitting(file, TrainConfig, {k: v for k, v in found.items() if k != FACTS})
    entry = STRATEGIES.get(split_name(values["strategy"])[0])
    own = entry and fill_of("own", entry.fill, values.get("validation_target", False))
    if own is not None and values.get("fill") == own:  # another strategy's may be another
        values["fill"] = "own"
    return values


def _fitting(file: Path, kind: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """The values of a file, each as its setting wants it.

    Raises:
        UserError: no such setting, or a value that it cannot have.
    """
    try:
        settings = from_values(kind, values)
    except UserError as error:
        raise UserError(f"--config {file}: {error}") from error
    return {name: getattr(settings, name) for name in values}


def _values(words: Sequence[str], flag: str) -> list[str]:
    """What follows a flag, up to the next one."""
    if flag not in words:
        return []
    rest = list(words[words.index(flag) + 1 :])
    end = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:end]


def _split(argument: str) -> list[str]:
    """--name=value as two words."""
    return argument.split("=", 1) if argument.startswith("--") else [argument]
