"""Checkpoints that a killed run resumes from: orbax writes the arrays, a seal covers them.

    checkpoints/PLACE/state/      the training state, by orbax
                      log.jsonl   the epochs so far
                      left.bin    in the middle of an epoch: what was left of it
                      seal.json   a checksum of each file, and how long the selections' file was

A place is the number of epochs done, and behind a dash that of the steps of the next one.
Keys are saved as their numbers. Of several processes the first saves alone, from its own memory:
what is saved does not tell how many there were.

A checkpoint is made under another name, synced and renamed, so that it is whole or not there. Two
are kept: where the newer one is damaged on disk, the older one serves.
"""

import errno
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.training.files import (
    SEAL,
    TEMPORARY,
    broken,
    read_json,
    sealed,
    sync,
    sync_tree,
)
from gradmatch_jax.training.left import Left, packed, unpacked
from gradmatch_jax.training.plain import on_host, with_keys, without_keys
from gradmatch_jax.training.processes import alone

KEPT = 2
STATE, LOG, LEFT = "state", "log.jsonl", "left.bin"


class Place(NamedTuple):
    """How far a run is: epochs done, and steps of the one after them. Later places are greater."""

    epoch: int
    step: int = 0

    @property
    def name(self) -> str:
        """Of the checkpoint's folder."""
        return f"{self.epoch}-{self.step}" if self.step else str(self.epoch)

    @classmethod
    def named(cls, name: str) -> "Place | None":
        """The place of a folder's name.

        >>> [Place.named(name) for name in ("12", "12-300", "12.tmp")]
        [Place(epoch=12, step=0), Place(epoch=12, step=300), None]
        """
        parts = name.split("-")
        fits = len(parts) <= 2 and all(part.isdecimal() for part in parts)
        return cls(*map(int, parts)) if fits else None

    def in_words(self) -> str:
        """What comes next there."""
        return f"step {self.step} of epoch {self.epoch}" if self.step else f"epoch {self.epoch}"

    def done_in_words(self) -> str:
        """Where it is, after what was done."""
        return f"at {self.in_words()}" if self.step else f"after epoch {self.epoch - 1}"


class Checkpoint(NamedTuple):
    """A whole checkpoint on disk."""

    place: Place
    folder: Path
    selections: dict[str, Any]  # of the file of selections: "bytes" and their "digest"

    @property
    def lines(self) -> list[str]:
        """The log's lines, one an epoch."""
        return (self.folder / LOG).read_text().splitlines()

    @property
    def left(self) -> Left | None:
        """What was left of the epoch that it is in the middle of."""
        file = self.folder / LEFT
        return unpacked(file.read_bytes()) if file.exists() else None


def places(folder: Path) -> list[Place]:
    """Where there are checkpoints, damaged ones included, the newest first.

    An empty folder is none.
    """
    if not folder.is_dir():
        return []
    found = ((Place.named(p.name), p) for p in folder.iterdir() if p.is_dir())
    return sorted((place for place, p in found if place and any(p.iterdir())), reverse=True)


def whole(folder: Path, place: Place) -> Checkpoint | str:
    """The checkpoint at a place, or what is wrong with it, in words."""
    path = folder / place.name
    trouble = broken(path)
    if trouble is not None:
        return trouble
    known = read_json(path / SEAL) or {}
    selections = known.get("selections")
    needed = {LOG, LEFT} if place.step else {LOG}
    if needed - known["files"].keys() or not isinstance(selections, dict):
        return f"{SEAL} is damaged"
    if not {"bytes", "digest"} <= selections.keys() or not isinstance(selections["bytes"], int):
        return f"{SEAL} is damaged"
    return Checkpoint(place, path, selections)


def save(
    folder: Path,
    epoch: int,
    state: Any,
    lines: list[str],
    selections: dict[str, Any],
    left: Left | None = None,
) -> None:
    """Checkpoint `state`; whole on disk when this returns, and only then are older ones removed.

    Args:
        folder: of the checkpoints.
        epoch: epochs done.
        state: after them, or in the middle of the next one.
        lines: of the log.
        selections: how much of their file it relies on.
        left: what was left of the epoch in whose middle it is.

    Raises:
        Blocked: the disk is full, or cannot be written to; the older ones stand.
    """
    place = Place(epoch, 0 if left is None else left.begun.steps)
    made, final = folder / f"{place.name}{TEMPORARY}", folder / place.name
    try:
        with explained(f"cannot write the checkpoint {final}"):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            _write_state(made / STATE, state)
            (made / LOG).write_text("".join(f"{line}\n" for line in lines))
            if left is not None:
                (made / LEFT).write_bytes(packed(left))
            files = [str(p.relative_to(made)) for p in sorted(made.rglob("*")) if p.is_file()]
            (made / SEAL).write_text(json.dumps(sealed(made, files, selections=selections)))
            sync_tree(made)
            shutil.rmtree(final, ignore_errors=True)
            made.rename(final)
            sync(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    prune(folder, [found for found in places(folder) if found <= place][:KEPT])


def _write_state(path: Path, state: Any) -> None:
    state = on_host(state)  # orbax takes twice as long for JAX's arrays
    saver = _checkpointer()
    try:
        saver.save(path.resolve(), args=ocp.args.StandardSave(state))
    except (ValueError, RuntimeError) as error:  # the array writer's own words
        said = " ".join(str(error).split())[:200]
        full = "RESOURCE_EXHAUSTED" in said or "No space left" in said
        raise (OSError(errno.ENOSPC, said) if full else OSError(said)) from error
    finally:
        saver.close()


def restore(checkpoint: Checkpoint, template: Any) -> Any:
    """The state of a whole checkpoint in `template`'s structure.

    Raises:
        UserError: it has other fields, or other shapes.
    """
    plain = without_keys(template) if alone() else on_host(template)
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, plain)
    reader = _checkpointer()
    path = (checkpoint.folder / STATE).resolve()
    try:
        return with_keys(reader.restore(path, args=ocp.args.StandardRestore(abstract)), template)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(
            f"the checkpoint {checkpoint.folder} is another version's; give another --out"
        ) from error
    finally:
        reader.close()


def newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, whatever became of the run's other files."""
    found = (whole(folder, place) for place in places(folder))
    return next((one for one in found if isinstance(one, Checkpoint)), None)


def read(checkpoint: Checkpoint) -> Any:
    """The state of a whole checkpoint as nested dictionaries, without knowing its structure.

    Keys are their numbers.

    Raises:
        UserError: it cannot be read.
    """
    reader = _checkpointer()
    try:
        return reader.restore((checkpoint.folder / STATE).resolve())
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"the checkpoint {checkpoint.folder} cannot be read: {error}") from error
    finally:
        reader.close()


def _checkpointer() -> ocp.Checkpointer:
    """Of this process alone: the others wait for nothing here."""
    mine: Any = {}
    if not alone():
        only = {jax.process_index()}
        options = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes=only, barrier_sync_key_prefix="own"
        )
        mine = {"multiprocessing_options": options}
    return ocp.Checkpointer(ocp.StandardCheckpointHandler(**mine), **mine)


def prune(folder: Path, kept: list[Place]) -> None:
    """Remove every checkpoint but those, and what a killed save left behind."""
    names = {place.name for place in kept}
    for path in folder.iterdir() if folder.is_dir() else ():
        ours = Place.named(path.name) or path.name.endswith(TEMPORARY) or "orbax" in path.name
        if ours and path.name not in names:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True) if path.is_file() else None
