"""A run's folder: its configuration, its log, its selections, checkpoints, and its result."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Integer

from gradmatch_jax.errors import Blocked, UserError, blocked, explained
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.training import checkpoints
from gradmatch_jax.training.checkpoints import Checkpoint
from gradmatch_jax.training.claim import holder, lock
from gradmatch_jax.training.config import CONFIG, FACTS, NOT_IDENTITY, RunConfig, TrainConfig
from gradmatch_jax.training.files import (
    SEAL,
    TEMPORARY,
    broken,
    finite,
    read_json,
    replacing,
    seal,
    write_json,
    write_text,
)
from gradmatch_jax.training.left import Left
from gradmatch_jax.training.selections import Selections

LOG, SELECTION, RESULT, LOCK = "metrics.jsonl", "selection.npz", "result.json", ".lock"


class RunFolder:
    """Files of one run: config.json, metrics.jsonl, selections.bin, checkpoints/, selection.npz,
    result.json.

    Made, it has only looked: `held` claims the folder, and all that writes belongs in its block.
    """

    def __init__(self, path: Path, config: RunConfig):
        """Look at `path`.

        Raises:
            UserError: the folder holds another run, or things that are no run at all, or cannot be
              read.
        """
        self.path = path
        self.notes: list[str] = []  # what was found damaged, and what became of it
        self.left: Left | None = None  # of the epoch that the restored state is in the middle of
        self._config = config
        self._checkpoints = path / "checkpoints"
        self._selections = Selections(path / "selections.bin")
        self._lines: list[str] | None = None  # of the log, once it is written here
        with explained(f"--out {path}"):
            self._refuse_other()

    def _refuse_other(self) -> None:
        path, file = self.path, self.path / CONFIG
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file; name a folder")
        if not file.exists():
            ours = (LOCK, CONFIG + TEMPORARY)
            if path.is_dir() and any(p.name not in ours for p in path.iterdir()):
                raise UserError(f"--out {path} is not empty and holds no run; name another folder")
            return
        earlier, wanted = self._read_config(), self._config.to_json()
        # What an earlier version did not know of, it did as the default does now.
        defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
        defaults["fill"] = MatchingOptions.fill
        differ = {
            name: f"{name} {earlier.get(name, defaults.get(name))!r} there, {value!r} here"
            for name, value in wanted.items()
            if name not in NOT_IDENTITY and earlier.get(name, defaults.get(name)) != value
        }
        if list(differ) == ["epochs"]:
            raise UserError(
                f"--out {path} holds a run of {earlier.get('epochs')} epochs, and its learning "
                f"rate's cosine falls to 0 over those: one of {wanted['epochs']} is another run "
                "from its first epoch on; name another folder"
            )
        if differ:
            raise UserError(
                f"--out {path} holds a run of another configuration "
                f"({'; '.join(differ.values())}); name another folder, or give what is there"
            )

    def _read_config(self) -> dict[str, Any]:
        earlier = read_json(self.path / CONFIG)
        if earlier is None:
            raise UserError(
                f"{self.path / CONFIG} is damaged; remove the folder or name another --out"
            )
        return earlier

    @contextmanager
    def held(self) -> Iterator[None]:
        """Claim the folder for the block; it is made and named where it is new.

        Raises:
            Blocked: another process has it, or it cannot be written to.
            UserError: it holds another run.
        """
        with explained(f"--out {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
        try:
            with lock(self.path / LOCK) as mine:
                if not mine:
                    raise Blocked(
                        f"--out {self.path} is in use by {holder(self.path / LOCK)}; wait for it, "
                        "or name another folder"
                    )
                with explained(f"--out {self.path}"):
                    self._refuse_other()  # again: it may have been another's until now
                    if not (self.path / CONFIG).exists():
                        write_json(self.path / CONFIG, self._config.to_json())
                yield
        except OSError as error:  # writing the log, say, in the middle of a run
            raise blocked(f"--out {self.path}", error) from error

    def identify(self, facts: dict[str, str]) -> None:
        """Note what the run was given, or compare it with what it was given before.

        Raises:
            UserError: it was given something else.
        """
        earlier = self._read_config()
        known = earlier.get(FACTS)
        if not isinstance(known, dict):
            write_json(self.path / CONFIG, earlier | {FACTS: facts})
            return
        differ = [
            f"{name} {known[name]!r} there, {value!r} here"
            for name, value in facts.items()
            if known.get(name, value) != value
        ]
        if differ:
            raise UserError(
                f"--out {self.path} holds a run on other data, or of another model or strategy "
                f"({'; '.join(differ)}); name another folder"
            )

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, if the run is finished and its files are as they were written."""
        result = read_json(self.path / RESULT)
        if result is None or ((self.path / SEAL).exists() and broken(self.path) is not None):
            return None
        return result

    def restore(self, template: Any) -> Any | None:
        """The newest whole checkpoint in `template`'s structure, or None; the log as it was then.

        What a killed process left behind is removed.

        Raises:
            UserError: every checkpoint is damaged, or that of the finished run is; or it is another
              version's.
        """
        finished = self.result is not None
        found = self._newest(finished)
        state = None if found is None else checkpoints.restore(found, template)
        self.left = None if found is None else found.left
        known = checkpoints.places(self._checkpoints) if found else []
        checkpoints.prune(self._checkpoints, [p for p in known if found and p <= found.place])
        for file in self.path.glob(f"*{TEMPORARY}"):
            file.unlink(missing_ok=True)
        self._selections.cut(None if found is None else found.selections)
        self._lines = [] if found is None else found.lines
        text = "".join(f"{line}\n" for line in self._lines)
        if not (self.path / LOG).exists() or (self.path / LOG).read_bytes() != text.encode():
            write_text(self.path / LOG, text)
        if not finished and (self.path / RESULT).exists():
            self.notes.append(
                f"{self.path} was finished and is damaged ({self._damage()}): "
                "its files are written again"
            )
        return state

    def _damage(self) -> str:
        """What is wrong with the files of a run that was finished."""
        return (broken(self.path) if (self.path / SEAL).exists() else None) or RESULT

    def _newest(self, finished: bool) -> Checkpoint | None:
        troubles: list[str] = []
        for place in checkpoints.places(self._checkpoints):
            found = checkpoints.whole(self._checkpoints, place)
            trouble = (
                found if isinstance(found, str) else self._selections.trouble(found.selections)
            )
            if isinstance(found, Checkpoint) and trouble is None:
                if troubles:
                    self.notes.append(f"{'; '.join(troubles)}: going on from {place.in_words()}")
                return found
            troubles.append(f"checkpoint {self._checkpoints / place.name} is damaged ({trouble})")
            if finished:
                raise UserError(
                    f"{self.path} is finished and its result holds, but {troubles[0]}; remove "
                    f"{self.path / RESULT} to train its last epochs again"
                )
        if finished:
            raise UserError(
                f"{self.path} is finished and its result holds, but its checkpoints are gone; "
                "name another folder to train again"
            )
        if troubles:
            raise UserError(f"{'; '.join(troubles)}; remove {self.path} or name another --out")
        return None

    def describe_last(self) -> str:
        """The last good checkpoint, in words."""
        places = checkpoints.places(self._checkpoints)
        if not places:
            return f"{self.path} has no checkpoint"
        return f"the last good checkpoint in {self.path} is {places[0].done_in_words()}"

    def make_sure_of_room(self, state: Any) -> None:
        """Find out before anything trains whether a checkpoint has room on the disk.

        Raises:
            Blocked: it has not.
        """
        wanted = sum(getattr(leaf, "nbytes", 8) for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.path).free
        if free < wanted:
            raise Blocked(
                f"--out {self.path}: {free / 1e6:.0f} MB are free and a checkpoint takes "
                f"{wanted / 1e6:.0f} MB; make space or name another disk"
            )

    def save(self, epoch: int, state: Any, left: Left | None = None) -> None:
        """Checkpoint `state` after `epoch` epochs, or in the next one; whole when this returns."""
        assert self._lines is not None
        mark = self._selections.mark()
        checkpoints.save(self._checkpoints, epoch, state, self._lines, mark, left)

    def log(self, row: dict[str, Any]) -> None:
        """Append an epoch to metrics.jsonl."""
        assert self._lines is not None
        self._lines.append(json.dumps(finite(row)))
        with (self.path / LOG).open("a") as file:
            file.write(self._lines[-1] + "\n")

    def select(
        self, epoch: int, rows: Integer[np.ndarray, " k"], weights: Float[np.ndarray, " k"]
    ) -> None:
        """Keep a selection: rows in the user's numbering, before `epoch`."""
        self._selections.append(epoch, rows, weights)

    def read_log(self) -> list[dict[str, Any]]:
        """The rows of the log: of the run here, or of what its files hold, up to a cut line."""
        if self._lines is not None:
            return [json.loads(line) for line in self._lines]
        return read_log(self.path)

    def finish(
        self,
        result: dict[str, Any],
        last: tuple[Integer[np.ndarray, " k"], Float[np.ndarray, " k"]],
        split: dict[str, Integer[np.ndarray, " n"]],
    ) -> None:
        """Write selection.npz and the result, in that order: result.json means finished.

        Args:
            result: the summary.
            last: the last selection, rows in the user's numbering and weights.
            split: "train_rows" and "validation_rows", the user's row of each row of those splits.
        """
        table = self._selections.table()
        with replacing(self.path / SELECTION) as stream:
            np.savez(
                stream,
                indices=last[0],
                weights=last[1],
                history_indices=table["row"],
                history_weights=table["weight"],
                history_epochs=table["epoch"],
                **split,  # pyright: ignore[reportArgumentType]
            )
        content = json.dumps(finite(result), indent=2) + "\n"
        with replacing(self.path / RESULT) as stream:
            stream.write(content.encode())
        seal(self.path, (LOG, SELECTION, RESULT))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a folder's log, up to a cut line."""
    rows, file = [], path / LOG
    for line in file.read_text(errors="replace").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
