"""`gradmatch-jax predict`: what a trained run says of inputs, from file to file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.inputs.values import as_path
from gradmatch_jax.training.files import replacing

if TYPE_CHECKING:
    from gradmatch_jax.training.saved import SavedRun


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Predict with the network of a run: class, probabilities and logits of each input."""

    run: Path
    """Folder of the run, --out of `train`."""
    input: Path | None = None
    """.npz with x (n, ...), as the data set had its inputs, and y (n,), classes or their names,
    where they are known; or, of a run on texts, a text file, one a line. None: only --export."""
    out: Path | None = None
    """.npz to write: classes (n,), probabilities (n, C), logits (n, C), class_names (C,)."""
    export: Path | None = None
    """.safetensors to write: every parameter by its name."""
    compilation_cache: CompilationCache = None


def run(command: PredictCommand) -> None:
    """Predict from file to file, and say how many were right where that is known.

    Raises:
        UserError: files that are missing, unfit or already there.
    """
    if command.input is None and command.export is None:
        raise UserError("nothing to do: pass --input and --out, or --export")
    if (command.input is None) != (command.out is None):
        raise UserError("--input and --out go together; pass both")
    if command.out is not None and command.out.suffix != ".npz":
        raise UserError(f"--out {command.out} must end in .npz")
    for name, path in (("--out", command.out), ("--export", command.export)):
        if path is None:
            continue
        with explained(f"{name} {path}"):
            if path.exists():
                raise UserError(f"{name} {path} exists; name another file or remove it")
            if not path.parent.is_dir():
                raise UserError(f"{name}: there is no folder {path.parent}; make it first")
    keep_compiled(command.compilation_cache)
    from gradmatch_jax.training.saved import load_run

    found = load_run(as_path("--run", command.run))
    if command.export is not None:
        found.export(command.export)
        print(f"{command.export}: {len(found.parameters())} arrays")
    if command.input is not None and command.out is not None:
        print(_predicted(found, command.input, command.out))


def _predicted(found: "SavedRun", file: Path, out: Path) -> str:
    """Write the predictions; what came of them in a line."""
    x, y = _inputs(file)
    if y is not None and y.shape != np.shape(x)[:1]:
        raise UserError(f"--input {file}: y must be (n,), one a row of x, not {y.shape}")
    logits = found.predict(x)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    classes = logits.argmax(axis=1)
    with explained(f"--out {out}"), replacing(out) as stream:
        np.savez(
            stream,
            classes=classes,
            probabilities=shifted / shifted.sum(axis=1, keepdims=True),
            logits=logits,
            class_names=np.array(found.network.class_names),
        )
    said = f"{out}: {len(classes)} predictions"
    if y is None:
        return said
    as_y = np.array(found.network.class_names)[classes] if y.dtype.kind == "U" else classes
    return f"{said}, {100 * float(np.mean(as_y == y)):.2f} % right"


def _inputs(file: Path) -> tuple[Any, np.ndarray | None]:
    """x, and y where the file has it."""
    with explained(f"--input {file}"):
        if not file.is_file():
            raise UserError(f"--input {file} is no file; pass an .npz, or a text file")
        if file.suffix == ".npz":
            arrays = read_arrays(file, f"--input {file}", ("x",), optional=("y",))
            return arrays["x"], arrays.get("y")
        try:
            return file.read_text(encoding="utf-8").splitlines(), None
        except UnicodeDecodeError as error:
            raise UserError(f"--input {file} is no text in UTF-8, and no .npz") from error
