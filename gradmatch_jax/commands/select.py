"""`gradmatch-jax select`: selection for people who train elsewhere, from file to file."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from gradmatch_jax.commands.compilation import CompilationCache, keep_compiled
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.inputs.values import COUNT, SEED, SHARE, LossName, Range
from gradmatch_jax.settings import as_option, checked
from gradmatch_jax.solvers.options import refuse_contradictions
from gradmatch_jax.strategies.registry import Entry, find_entry
from gradmatch_jax.strategies.settings import StrategySettings
from gradmatch_jax.training.files import replacing

if TYPE_CHECKING:
    from gradmatch_jax.selection.result import Selection

PASSES = ("logits", "features", "labels")
VALIDATION = ("validation_logits", "validation_features", "validation_labels")
NORMS = "gradient_norms"
OWN = (*(f.name for f in dataclasses.fields(StrategySettings)), "batch_size", "lr")


@dataclass(frozen=True, kw_only=True)
class SelectConfig(StrategySettings):
    """Choose a weighted subset from a file of logits, features and labels (PyTorch's will do)."""

    strategy: str = "gradmatch"
    """As `train` has it, of those that read a pass: gradmatch, gradmatch-per-class, gradmatch-pb,
    craig, craig-pb, glister, facility-location, entropy, el2n, grand."""
    input: Path
    """.npz with logits (n, C), features (n, E) and labels (n,): one forward pass over the training
    set, in evaluation mode; features are what enters the last linear layer. Glister and a
    validation target want validation_logits, validation_features and validation_labels too; grand
    wants gradient_norms (n,)."""
    budget: Annotated[int | None, COUNT] = None
    """How many examples to choose."""
    fraction: Annotated[float | None, SHARE] = None
    """The share of the rows to choose, in place of --budget."""
    out: Path
    """.npz to write: indices (k,) into the rows of the input, weights (k,) of mean 1; how well they
    match, by which form of the solver, and why matching stopped."""
    batch_size: Annotated[int, COUNT] = 20
    """gradmatch-pb, craig-pb: examples a batch."""
    lr: Annotated[float, Range(0, open_low=True)] = 0.01
    """glister: the size of the virtual step."""
    loss: LossName = "softmax"
    """What the gradients are of; mse and sigmoid make one problem of all rows, without classes."""
    label_smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    seed: Annotated[int, SEED] = 0
    compilation_cache: CompilationCache = None


def run(config: SelectConfig) -> None:
    """Select from file to file, and say what was selected.

    Raises:
        UserError: as `select_file`.
    """
    keep_compiled(config.compilation_cache)
    facts = select_file(config, say=lambda line: print(line, flush=True))
    error = facts["matching_error"]
    matched = f", {facts['num_matched']} matched, matching error {error:.4f}"
    print(f"{config.out}: {facts['size']} examples{matched if error == error else ''}")
    if facts["stopped_short"]:
        print(f"matching stopped short of the budget: {facts['stopped_short']}")


def select_file(
    config: SelectConfig, say: Callable[[str], object] = lambda line: None
) -> dict[str, Any]:
    """Select and write `config.out`; returns what was selected, for printing.

    Args:
        config: what to select.
        say: told what takes its time, before it does.

    Raises:
        UserError: files that are missing, unfit or already there; a budget below 1 or above n.
    """
    config = checked(config)
    refuse_contradictions(config)
    entry = _entry(config.strategy)
    _refuse_before_reading(config, entry)
    arrays = _read(config)
    say(f"{config.strategy} of {len(arrays['logits'])} rows; compiling first")
    selection, rows, weights = _selected(config, entry, arrays)
    from gradmatch_jax.selection.result import describe_stops, stopped_short

    said = describe_stops(selection)
    facts = {
        "size": len(rows),
        "num_matched": int(selection.num_matched),
        "matching_error": float(selection.matching_error),
        "form": said["form"] or "",
        "stops": _in_words(said["stops"]),
        "stopped_short": stopped_short(selection) or "",
    }
    with explained(f"--out {config.out}"), replacing(config.out) as stream:
        np.savez(stream, indices=rows, weights=weights, **facts)
    return facts


def _entry(name: str) -> Entry:
    entry = find_entry(name)
    if not entry.reads:
        raise UserError(
            f"--strategy {name} chooses without a pass, or by watching training: use `train`, or "
            "Selector in a loop of your own"
        )
    return entry


def _refuse_before_reading(config: SelectConfig, entry: Entry) -> None:
    if (config.budget is None) == (config.fraction is None):
        raise UserError("give --budget or --fraction, one of them")
    from gradmatch_jax.loops.settings import applicable

    allowed = applicable(entry)
    for name in OWN:
        if name in changed_of(config) and name not in allowed:
            raise UserError(f"{as_option(name)} does not apply to {config.strategy}; leave it out")


def _selected(
    config: SelectConfig, entry: Entry, arrays: Mapping[str, np.ndarray]
) -> "tuple[Selection, np.ndarray, np.ndarray]":
    """What a `Selector` chooses of the passes in the file: as it was, and its rows and weights."""
    from gradmatch_jax.loops.selector import Selector

    n, classes = arrays["logits"].shape
    if config.budget is not None and config.budget > n:
        raise UserError(f"--budget must be from 1 to {n}, the rows of the input")
    scored = entry.regime.scored
    selector = Selector(
        config.strategy,
        labels=arrays["labels"],
        budget=config.budget,
        fraction=config.fraction,
        seed=config.seed,
        loss=config.loss,
        label_smoothing=config.label_smoothing,
        num_classes=classes if config.loss == "softmax" else None,
        # Whether they are read is seen when they are: then `of` says what lacks.
        validation_labels=arrays.get("validation_labels", arrays["labels"]),
        proxy_epochs=1 if scored else None,
        **{name: getattr(config, name) for name in OWN if name in changed_of(config)},
    )

    def of(*names: str) -> Any:
        missing = [name for name in names if name not in arrays]
        if missing:
            lacks = f"--input {config.input} lacks {', '.join(missing)}"
            raise UserError(f"{lacks}, which {config.strategy} reads")
        return tuple(arrays[name] for name in names)

    rows, weights = selector(
        1 if scored else 0,  # the pass is the proxy's, after its training
        lambda: of("logits", "features"),
        validation=lambda: of(*VALIDATION)[:2],
        gradient_norms=lambda: of(NORMS)[0],
    )
    return selector.selection, rows, weights


def changed_of(config: SelectConfig) -> frozenset[str]:
    """The settings that are not at their default."""
    fields = dataclasses.fields(config)
    return frozenset(f.name for f in fields if getattr(config, f.name) != f.default)


def _in_words(stops: Mapping[str, int]) -> str:
    return "; ".join(f"{why} ({count} of the problems)" for why, count in stops.items())


def _read(config: SelectConfig) -> dict[str, np.ndarray]:
    """The arrays as they are in the file; the door checks what they hold."""
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
    where, wants = f"--input {config.input}", "logits (n, C), features (n, E) and labels (n,)"
    arrays = read_arrays(config.input, where, PASSES, optional=(*VALIDATION, NORMS), wants=wants)
    if arrays["logits"].ndim != 2:
        raise UserError(f"{where}: logits must be (n, C), not {arrays['logits'].shape}")
    return arrays
