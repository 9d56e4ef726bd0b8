"""The driver: alternates selection and weighted SGD epochs (paper, Algorithm 1)."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gradmatch_jax.data import Dataset
from gradmatch_jax.data.dataset import check
from gradmatch_jax.errors import Stopped
from gradmatch_jax.inputs.values import as_path
from gradmatch_jax.measure.clock import lap
from gradmatch_jax.models.model import Model
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.check import OWN, OwnStrategy, as_entry, check_answer
from gradmatch_jax.training.build import fresh_network, load, prepare
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.ends import check_finite, stopped
from gradmatch_jax.training.examples import examples_of
from gradmatch_jax.training.folder import RunFolder
from gradmatch_jax.training.identity import identity
from gradmatch_jax.training.keys import epoch_keys
from gradmatch_jax.training.loggers import check_log, logging
from gradmatch_jax.training.network import network_of, write_network
from gradmatch_jax.training.passes import evaluate, run_epoch
from gradmatch_jax.training.presets import AUTO
from gradmatch_jax.training.processes import agreed, alone, any_of, first, shared
from gradmatch_jax.training.progress import done, progress
from gradmatch_jax.training.schedule import Bill, learning_rate
from gradmatch_jax.training.snapshot import describe, take_snapshot
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
        stop: asked after epochs, and within those that a checkpoint has just been made before:
            where it says so, the run is saved and left.
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
    check_log(log, out)
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
        return _train(run, state, None, on_epoch, stop)
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

            return _train(run, state, folder, written, stop)


def _at_work(run: Run) -> str:
    """What was decided by default as much as by the user: the wait depends on it."""
    return f"{run.facts['model']} on {len(run.train)} examples, {len(run.plan)} epochs"


def _train(run: Run, state: TrainState, folder: RunFolder | None, on_epoch, stop) -> Result:
    state = shared(state, run.place)
    if folder is not None and folder.result is not None:
        return Result(folder.result, state, folder.read_log())
    within = stop if alone() else _never  # where all must leave, they do after an epoch
    log, saved_at, saved = [], int(state.epoch), time.monotonic()
    while not done(run, state):
        index = int(state.epoch)
        try:  # where the state before it is saved, an epoch can be left: nothing more could be kept
            state, row = _epoch(run, state, index, within if saved_at == index else _never)
        except Stopped:
            raise stopped(index, saved_at, folder) from None
        state = _by_the_first(state)
        check_finite(state, row, folder)
        last = done(run, state)
        if last or ((index + 1) % run.eval_every == 0 and run.plan[index].network == "model"):
            row |= _accuracies(run, state)
        if folder is None:
            log.append(row)
        else:
            _keep(run, state, row, folder)
        leave = any_of(not last and stop())
        if folder is not None and (
            last or leave or time.monotonic() - saved >= run.checkpoint_seconds
        ):
            folder.save(index + 1, state)
            saved_at, saved = index + 1, time.monotonic()
        on_epoch(row, len(run.plan))
        if leave:
            raise stopped(index + 1, saved_at, folder)
    log = log if folder is None else folder.read_log()
    summary = summarise(run, state, log) if first() else {}
    if folder is not None:
        folder.finish(summary, _named(run, state.selection), run.rows)
    return Result(summary, state, log)


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
            on_note(f"resuming at epoch {int(restored.epoch)} of {len(run.plan)}")
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


def _epoch(
    run: Run, state: TrainState, index: int, stop: Callable[[], bool]
) -> tuple[TrainState, dict[str, Any]]:
    """Select if the plan says so, then one epoch of SGD; returns the state and its log row."""
    epoch = run.plan[index]
    select_key, sgd_key = epoch_keys(run.key, index)
    row: dict[str, Any] = {
        "epoch": index,
        "full": epoch.full,
        "proxy": epoch.network == "proxy",
    }
    if epoch.select:
        state, row["selection"] = _select(run, state, select_key)
    chosen = examples_of(epoch, state.selection, len(run.train))
    lr = learning_rate(run.schedule, run.lr, progress(run, state, epoch))
    fresh = epoch.fresh
    learner = fresh_network(run, epoch.network, index) if fresh else state.networks[epoch.network]
    with _billed(run, state, epoch.bill) as bill:
        learner, loss, seen = run_epoch(
            run.steps[epoch.network], learner, run.train, *chosen,
            batch_size=run.batch_size, lr=lr, key=sgd_key, batching=epoch.batching,
            stop=stop,
        )  # fmt: skip
        strategy_state = state.strategy
        if epoch.network == run.scorer:  # scores are of one network's training
            strategy_state = run.strategy.observe(strategy_state, seen)
        jax.block_until_ready((learner, strategy_state))
    state = bill()._replace(
        networks={**state.networks, epoch.network: learner},
        strategy=strategy_state,
        epoch=index + 1,
    )
    row |= {"lr": lr, "train_loss": loss, "examples": len(seen.indices), "joules": state.joules}
    row |= {f"{name}_seconds": value for name, value in state.times._asdict().items()}
    return state, row


def _select(run: Run, state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
    """A new selection; returns the state and what is logged of it."""
    before = float(state.times.selection)
    with _billed(run, state, "selection") as bill:
        answer = run.strategy.select(state.strategy, take_snapshot(run, state, key), key)
        jax.block_until_ready(answer)
    selection, strategy_state = check_answer(run.name, run.strategy, answer, len(run.train))
    state = bill()._replace(selection=selection, strategy=strategy_state)
    return state, describe(selection) | {"seconds": float(state.times.selection) - before}


@contextmanager
def _billed(run: Run, state: TrainState, bill: Bill) -> Iterator[Callable[[], TrainState]]:
    """Time a block and meter it; the answer, once it is done, is the state that has paid for it."""
    start = run.meter.read()
    with lap() as read:

        def paid() -> TrainState:
            spent, times = read(), state.times
            times = times._replace(**{bill: getattr(times, bill) + spent.work})
            times = times._replace(compile=times.compile + spent.compile)
            return state._replace(times=times, joules=state.joules + run.meter.since(start))

        yield paid
