"""Checkpoints that a killed run resumes from: orbax writes the arrays, a seal covers them.

    checkpoints/STEP/state/      the training state, by orbax
                     log.jsonl   the epochs so far
                     seal.json   a checksum of each file, and how long the selections' file was

Keys are saved as their numbers. Of several processes the first saves alone, from its own memory:
what is saved does not tell how many there were.

A checkpoint is made under another name, synced and renamed, so that it is whole or not there. Two
are kept: where the newer one is damaged on disk, the older one serves.
"""

import errno
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
    seal,
    sync,
    sync_tree,
    write_text,
)
from gradmatch_jax.training.plain import on_host, with_keys, without_keys
from gradmatch_jax.training.processes import alone

KEPT = 2
STATE, LOG = "state", "log.jsonl"


class Checkpoint(NamedTuple):
    """A whole checkpoint on disk."""

    step: int  # epochs done
    folder: Path
    selections: dict[str, Any]  # of the file of selections: "bytes" and their "digest"

    @property
    def lines(self) -> list[str]:
        """The log's lines, one an epoch."""
        return (self.folder / LOG).read_text().splitlines()


def steps(folder: Path) -> list[int]:
    """The epochs after which there are checkpoints, damaged ones included, the newest first.

    An empty folder is none.
    """
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.name.isdecimal() and p.is_dir())
    return sorted((int(p.name) for p in found if any(p.iterdir())), reverse=True)


def whole(folder: Path, step: int) -> Checkpoint | str:
    """The checkpoint after `step` epochs, or what is wrong with it, in words."""
    path = folder / str(step)
    trouble = broken(path)
    if trouble is not None:
        return trouble
    sealed = read_json(path / SEAL) or {}
    selections = sealed.get("selections")
    if {f"{LOG}"} - sealed["files"].keys() or not isinstance(selections, dict):
        return f"{SEAL} is damaged"
    if not {"bytes", "digest"} <= selections.keys() or not isinstance(selections["bytes"], int):
        return f"{SEAL} is damaged"
    return Checkpoint(step, path, selections)


def save(folder: Path, step: int, state: Any, lines: list[str], selections: dict[str, Any]) -> None:
    """Checkpoint `state`; whole on disk when this returns, and only then are older ones removed.

    Raises:
        Blocked: the disk is full, or cannot be written to; the older ones stand.
    """
    made, final = folder / f"{step}{TEMPORARY}", folder / str(step)
    try:
        with explained(f"cannot write the checkpoint {final}"):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            _write_state(made / STATE, state)
            write_text(made / LOG, "".join(f"{line}\n" for line in lines))
            files = [str(p.relative_to(made)) for p in sorted(made.rglob("*")) if p.is_file()]
            seal(made, files, selections=selections)
            sync_tree(made)
            shutil.rmtree(final, ignore_errors=True)
            made.rename(final)
            sync(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    prune(folder, [found for found in steps(folder) if found <= step][:KEPT])


def _write_state(path: Path, state: Any) -> None:
    state = without_keys(state) if alone() else on_host(state)
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
    found = (whole(folder, step) for step in steps(folder))
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


def prune(folder: Path, kept: list[int]) -> None:
    """Remove every checkpoint but those, and what a killed save left behind."""
    names = {str(step) for step in kept}
    for path in folder.iterdir() if folder.is_dir() else ():
        ours = path.name.isdecimal() or path.name.endswith(TEMPORARY) or "orbax" in path.name
        if ours and path.name not in names:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True) if path.is_file() else None
