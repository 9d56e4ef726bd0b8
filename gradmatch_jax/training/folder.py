"""A run's folder: its configuration, its log, and checkpoints that a killed run resumes from."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from gradmatch_jax.errors import UserError
from gradmatch_jax.training.config import NOT_IDENTITY, RunConfig, TrainConfig


class RunFolder:
    """Files of one run: config.json, metrics.jsonl, checkpoints/, selection.npz, result.json."""

    def __init__(self, path: Path, config: RunConfig):
        """Claim `path` for `config`, or take up the run of the same configuration in it.

        Raises:
            UserError: the folder holds another run, or things that are no run at all.
        """
        self.path = path
        self._checkpoints = path / "checkpoints"
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file; name a folder")
        config_file = path / "config.json"
        if config_file.exists():
            self._refuse_other(config_file, config)
        elif path.is_dir() and any(p.name != "config.json.tmp" for p in path.iterdir()):
            raise UserError(f"--out {path} is not empty and holds no run; name another folder")
        else:
            path.mkdir(parents=True, exist_ok=True)
            write_json(config_file, config.to_json())
        options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True)
        self._manager = ocp.CheckpointManager(self._checkpoints.resolve(), options=options)

    def _refuse_other(self, config_file: Path, config: RunConfig) -> None:
        try:
            earlier = dict(json.loads(config_file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"cannot read {config_file} ({error}); remove the folder or name another"
            ) from error
        wanted = config.to_json()
        # What an earlier version did not know of, it did as the default does now.
        defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
        differ = [
            f"{name} {earlier.get(name, defaults.get(name))!r} there, {value!r} here"
            for name, value in wanted.items()
            if name not in NOT_IDENTITY and earlier.get(name, defaults.get(name)) != value
        ]
        if differ:
            raise UserError(
                f"--out {self.path} holds a run of another configuration ({'; '.join(differ)}); "
                "name another folder"
            )

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, if the run is finished."""
        file = self.path / "result.json"
        return json.loads(file.read_text()) if file.exists() else None

    def restore(self, template: Any) -> Any | None:
        """The newest whole checkpoint in `template`'s structure, or None. Cuts the log to it."""
        step = self._manager.latest_step()
        if step is None:
            self._cut_log(0)
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        try:
            state = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except (ValueError, KeyError) as error:  # other fields, or other shapes
            raise UserError(
                f"the checkpoints in {self.path} are another version's; give another --out"
            ) from error
        self._cut_log(step)
        return state

    def describe_last(self) -> str:
        """The last good checkpoint, in words."""
        step = self._manager.latest_step()
        if step is None:
            return f"{self.path} has no checkpoint"
        return f"the last good checkpoint in {self.path} is after epoch {step - 1}"

    def save(self, epoch: int, state: Any) -> None:
        """Checkpoint `state` after `epoch` epochs; whole on disk when this returns."""
        self._manager.save(epoch, args=ocp.args.StandardSave(state))
        self._manager.wait_until_finished()

    def log(self, row: dict[str, Any]) -> None:
        """Append an epoch to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(finite(row)) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, up to a line that a kill cut short."""
        file = self.path / "metrics.jsonl"
        rows = []
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def _cut_log(self, epochs: int) -> None:
        """Drop rows logged after the checkpoint: the resumed run writes them again."""
        rows = [row for row in self.read_log() if row["epoch"] < epochs]
        replace(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def finish(self, result: dict[str, Any], indices: np.ndarray, weights: np.ndarray) -> None:
        """Write the last selection and the result, in that order: result.json means finished."""
        np.savez(self.path / "selection.npz", indices=indices, weights=weights)
        write_json(self.path / "result.json", result)

    def close(self) -> None:
        """Release the checkpoint manager's threads."""
        self._manager.close()


def finite(value: Any) -> Any:
    """`value` with nan and inf as null, which is all that JSON has for them."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    replace(file, json.dumps(finite(value), indent=2) + "\n")


def replace(file: Path, text: str) -> None:
    """Write `text` to `file` by renaming a finished temporary file over it."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(file)
