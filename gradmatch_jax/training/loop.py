"""The driver: alternates selection and weighted SGD epochs (paper, Algorithm 1)."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradmatch_jax.data import Dataset
from gradmatch_jax.data.dataset import check
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import as_path, short
from gradmatch_jax.models.model import Model
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.check import OWN, OwnStrategy, as_entry
from gradmatch_jax.training.build import load, prepare
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.ends import check_finite, stopped
from gradmatch_jax.training.epoch import advance
from gradmatch_jax.training.folder import RunFolder
from gradmatch_jax.training.identity import identity
from gradmatch_jax.training.left import Left, packed, unpacked
from gradmatch_jax.training.loggers import check_log, logging
from gradmatch_jax.training.network import network_of, write_network
from gradmatch_jax.training.passes import evaluate, mean_loss
from gradmatch_jax.training.pauses import Pauses, place_of
from gradmatch_jax.training.presets import AUTO
from gradmatch_jax.training.processes import agreed, any_of, first, sent, shared
from gradmatch_jax.training.progress import done
from gradmatch_jax.training.state import Run, TrainState
from gradmatch_jax.training.summary import summarise


def _never() -> bool:
    return False


class Result(NamedTuple):
    """What a run came to. Of several processes the first has summary and log for all of them."""

    summary: dict[str, Any]  # as in result.json
    state: TrainState
    log: list[dict[str, Any]]  # the rows of metrics.jsonl


def train(
    config: TrainConfig,
    out: Path | str | None = None,
    *,
    dataset: Dataset | None = None,
    model: Model | None = None,
    strategy: OwnStrategy | Any = None,  # Any: `as_entry` says what is none
    on_epoch: Callable[[dict[str, Any], int], None] = lambda row, total: None,
    on_note: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = _never,
    log: Sequence[str] = (),
) -> Result:
    """Train as `config` says; with `out`, log and checkpoint there and resume what is there.

    Args:
        config: what to run.
        out: the run's folder; None keeps nothing.
        dataset: the user's own instead of the one that `config` names.
        model: likewise.
        strategy: likewise: an `Entry`, a function of the `Task` with everything else at its
            default, or a `Strategy`. `config.strategy` is then only its name ("own" where left at
            its default).
        on_epoch: called with each log row and the number of epochs in the plan.
        on_note: called with what there is to say of the run, its network and epochs, and of the
            folder: resumed, finished, damaged.
        stop: asked after epochs, and within those that a checkpoint has just been made before, or
            all with `config.checkpoint_steps`: where it says so, the run is saved and left.
        log: where the rows go besides metrics.jsonl, of "csv", "tensorboard", "wandb".

    Returns:
        The summary (as in result.json), the final state with the network's variables, and the log.

    Raises:
        UserError: bad configuration, data or folder, before anything long starts; a run that
            diverges; a strategy of the user's own that returns what cannot be.
        Stopped: `stop` said so.

    Example:
        >>> config = TrainConfig(strategy="random", fraction=0.1, epochs=2, model="logistic")
        >>> train(config).summary["subset_size"]
        129
    """
    log = (log,) if isinstance(log, str) else tuple(log)
    check_log(log, out)
    _check_kinds(config, model, on_epoch=on_epoch, on_note=on_note, stop=stop)
    entry = None
    if strategy is not None:
        entry = as_entry(strategy)
        if config.strategy == TrainConfig.strategy:
            config = dataclasses.replace(config, strategy=OWN)
    if dataset is not None:
        check(dataset)
        if config.model is None:  # what suits the data, not what suits those that are not read
            config = dataclasses.replace(config, model=AUTO)
    resolved = resolve(config, entry=entry)
    if out is None or not first():
        run, state = prepare(resolved, dataset if dataset is not None else load(resolved), model)
        on_note(_at_work(run))
        return _train(run, state, None, None, on_epoch, stop)
    folder = RunFolder(as_path("--out", out), resolved)
    with folder.held():
        dataset = dataset if dataset is not None else load(resolved)
        run, state = prepare(resolved, dataset, model)
        on_note(_at_work(run))
        folder.identify(identity(dataset, run.facts["model"], state, strategy))
        write_network(folder.path, network_of(dataset, run.facts["model"], resolved.bf16))
        state, rows = _taken_up(run, state, folder, on_note), folder.read_log()
        with logging(log, folder.path, resolved.to_json(), rows) as write:

            def written(row: dict[str, Any], total: int) -> None:
                write(row)
                on_epoch(row, total)

            return _train(run, state, folder.left, folder, written, stop)


def _check_kinds(config: Any, model: Any, **calls: Any) -> None:
    """An error where what was handed over is of another kind, before an epoch is lost on it."""
    if not isinstance(config, TrainConfig):
        raise UserError(f"config must be TrainConfig(..), not {short(config)}")
    if not (model is None or isinstance(model, Model)):
        raise UserError(
            f"model must be a Model of two functions, not {short(model)}; a name goes into the "
            "configuration: TrainConfig(model='mlp')"
        )
    for name, call in calls.items():
        if not callable(call):
            raise UserError(f"{name} must be a function, not {short(call)}")


def _at_work(run: Run) -> str:
    """What was decided by default as much as by the user: the wait depends on it."""
    return f"{run.facts['model']} on {len(run.train)} examples, {len(run.plan)} epochs"


def _train(
    run: Run, state: TrainState, left: Left | None, folder: RunFolder | None, on_epoch, stop
) -> Result:
    state, left = shared(state, run.place), unpacked(sent(packed(left)))
    if folder is not None and folder.result is not None:
        return Result(folder.result, state, folder.read_log())
    log, pauses = [], Pauses(run, any_of(folder is not None), stop, place_of(state, left))
    while left is not None or not done(run, state):
        state, came = advance(run, state, left, pauses.within(int(state.epoch)))
        state = _by_the_first(state)
        if isinstance(came, Left):
            left = came
            _keep_middle(run, state, left, folder, pauses)
            continue
        left, row = None, came
        check_finite(state, row, folder)
        last = done(run, state)
        if last or (int(state.epoch) % run.eval_every == 0 and not row["proxy"]):
            row |= _accuracies(run, state)
        if folder is None:
            log.append(row)
        else:
            _keep(run, state, row, folder)
        leave = any_of(not last and stop())
        if folder is not None and (last or leave or pauses.due()):
            folder.save(int(state.epoch), state)
            pauses.saved(place_of(state, None))
        on_epoch(row, len(run.plan))
        if leave:
            raise stopped(int(state.epoch), pauses.at, folder)
    log = log if folder is None else folder.read_log()
    summary = summarise(run, state, log) if first() else {}
    if folder is not None:
        folder.finish(summary, _named(run, state.selection), run.rows)
    return Result(summary, state, log)


def _keep_middle(
    run: Run, state: TrainState, left: Left, folder: RunFolder | None, pauses: Pauses
) -> None:
    """Save a run in the middle of an epoch, and leave it where that is why it paused.

    Raises:
        Stopped: it was asked to stop.
    """
    index, leave = int(state.epoch), pauses.leaves()
    if pauses.keeps:
        loss = mean_loss(left.begun, left.begun.steps * run.batch_size, run.batch_size)
        check_finite(state, {"epoch": index, "train_loss": loss}, folder)
        if folder is not None:
            folder.save(index, state, left)
        pauses.saved(place_of(state, left))
    if leave:
        raise stopped(index, pauses.at, folder)


def _by_the_first(state: TrainState) -> TrainState:
    """What time and energy say is process 0's to say: a schedule and an end may go by them."""
    times, joules = agreed((state.times, state.joules))
    return state._replace(times=times, joules=joules)


def _taken_up(run: Run, state: TrainState, folder: RunFolder, on_note) -> TrainState:
    """The state that the folder goes on from, and what there is to say of it."""
    restored = folder.restore(state)
    for note in folder.notes:
        on_note(note)
    if folder.result is not None:
        on_note(f"{folder.path} is already finished; nothing is run again")
    else:
        folder.make_sure_of_room(state)
        if restored is not None:
            at = place_of(restored, folder.left)
            on_note(f"resuming at {at.in_words()} of {len(run.plan)}")
    return state if restored is None else run.place.replicate(restored)


def _keep(run: Run, state: TrainState, row: dict[str, Any], folder: RunFolder) -> None:
    """An epoch in the log, and its selection beside it."""
    if "selection" in row:
        folder.select(row["epoch"], *_named(run, state.selection))
    folder.log(row)


def _named(run: Run, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """A selection in the user's own row numbers, and its weights."""
    size = int(selection.size)
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    return run.rows["train_rows"][indices[:size]], weights[:size]


def _accuracies(run: Run, state: TrainState) -> dict[str, float]:
    """Of the network on the test and the validation split, in percent."""
    steps, variables = run.steps["model"], state.learner.variables
    return {
        "test_accuracy": evaluate(steps, variables, run.test),
        "validation_accuracy": evaluate(steps, variables, run.validation),
    }
