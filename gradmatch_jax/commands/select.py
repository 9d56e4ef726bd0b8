"""`gradmatch-jax select`: selection for people who train elsewhere, from file to file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.inputs.values import COUNT, SEED
from gradmatch_jax.settings import checked
from gradmatch_jax.solvers.options import MatchingOptions, matching_options, refuse_contradictions
from gradmatch_jax.training.files import replacing

Method = Literal["per-class", "per-gradient", "per-batch", "whole"]


@dataclass(frozen=True, kw_only=True)
class SelectConfig(MatchingOptions):
    """Choose a weighted subset from a file of logits, features and labels (PyTorch's will do)."""

    input: Path
    """.npz with logits (n, C), features (n, E) and labels (n,): one forward pass over the training
    set, in evaluation mode; features are what enters the last linear layer."""
    budget: Annotated[int, COUNT]
    """How many examples to choose."""
    out: Path
    """.npz to write: indices (k,) into the rows of the input, weights (k,) of mean 1; how well they
    match, by which form of the solver, and why matching stopped."""
    method: Method = "per-class"
    """One problem a class on the whole last-layer gradient (exact), on the class's own column (the
    paper's default), on mini-batch means, or one exact problem over everything."""
    batch_size: Annotated[int, COUNT] = 128
    """Of per-batch."""
    seed: Annotated[int, SEED] = 0
    compilation_cache: CompilationCache = None


def run(config: SelectConfig) -> None:
    """Select from file to file, and say what was selected.

    Raises:
        UserError: as `select_file`.
    """
    keep_compiled(config.compilation_cache)
    facts = select_file(config)
    print(
        f"{config.out}: {facts['size']} examples, {facts['num_matched']} matched, "
        f"matching error {facts['matching_error']:.4f}"
    )
    if facts["stopped_short"]:
        print(f"matching stopped short of the budget: {facts['stopped_short']}")


def select_file(config: SelectConfig) -> dict[str, Any]:
    """Select and write `config.out`; returns what was selected, for printing.

    Raises:
        UserError: files that are missing, unfit or already there; a budget below 1 or above n.
    """
    config = checked(config)
    refuse_contradictions(config)
    if config.batch_size != SelectConfig.batch_size and config.method != "per-batch":
        raise UserError("--batch-size is of --method per-batch; leave it out or add that")
    logits, features, labels = _read(config)
    if config.budget > len(logits):
        raise UserError(f"--budget must be from 1 to {len(logits)}, the rows of the input")
    import jax

    from gradmatch_jax.gradients import last_layer_gradients
    from gradmatch_jax.inputs.labels import as_labels
    from gradmatch_jax.selection.batch_subset import select_batches
    from gradmatch_jax.selection.result import describe_stops, stopped_short
    from gradmatch_jax.selection.subset import select_subset

    labels = as_labels(labels, len(logits), logits.shape[-1])
    gradients = last_layer_gradients(logits, features, labels)
    options = matching_options(config)
    key = jax.random.key(config.seed)
    if config.method == "per-batch":
        selection = select_batches(
            gradients, config.budget, config.batch_size, key=key, options=options
        )
    else:
        selection = select_subset(
            gradients,
            config.budget,
            labels=None if config.method == "whole" else labels,
            approximation="per_gradient" if config.method == "per-gradient" else "exact",
            key=key,
            options=options,
        )
    size = int(selection.size)
    weights = np.asarray(selection.weights)[:size]
    mean = float(weights.mean()) if size else 1.0
    said = describe_stops(selection)
    facts = {
        "size": size,
        "num_matched": int(selection.num_matched),
        "matching_error": float(selection.matching_error),
        "form": said["form"] or "",
        "stops": _in_words(said["stops"]),
        "stopped_short": stopped_short(selection) or "",
    }
    with explained(f"--out {config.out}"), replacing(config.out) as stream:
        np.savez(
            stream,
            indices=np.asarray(selection.indices)[:size],
            weights=weights / mean if mean > 0 else weights,
            **facts,
        )
    return facts


def _in_words(stops: Mapping[str, int]) -> str:
    return "; ".join(f"{why} ({count} of the problems)" for why, count in stops.items())


def _read(config: SelectConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """logits, features and labels as they are in the file; the door checks what they hold."""
    if config.out.suffix != ".npz":
        raise UserError(f"--out {config.out} must end in .npz")
    with explained(f"--out {config.out}"):
        if config.out.exists() or config.out.is_symlink():
            raise UserError(f"--out {config.out} exists; name another file or remove it")
        if not config.out.parent.is_dir():
            raise UserError(f"--out: there is no folder {config.out.parent}; make it first")
        with replacing(config.out):  # whether it can be written, before anything is computed
            pass
        config.out.unlink()
    with explained(f"--input {config.input}"):
        if not config.input.is_file():
            raise UserError(f"--input {config.input} is no file; pass an .npz")
    names = ("logits", "features", "labels")
    wants = "logits (n, C), features (n, E) and labels (n,)"
    arrays = read_arrays(config.input, f"--input {config.input}", names, wants=wants)
    logits, features, labels = (arrays[name] for name in names)
    if logits.ndim != 2:
        raise UserError(f"--input {config.input}: logits must be (n, C), not {logits.shape}")
    return logits, features, labels
