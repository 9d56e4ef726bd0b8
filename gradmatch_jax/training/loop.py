"""The driver: alternates selection and weighted SGD epochs (paper, Algorithm 1)."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.data import Dataset
from gradmatch_jax.data.dataset import check
from gradmatch_jax.errors import Diverged, UserError
from gradmatch_jax.measure.clock import lap
from gradmatch_jax.models.model import Model
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies.check import check_answer
from gradmatch_jax.strategies.strategy import Pass, Snapshot
from gradmatch_jax.training.build import OwnStrategy, as_entry, fresh_network, load, prepare
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.examples import examples_of
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.folder import RunFolder
from gradmatch_jax.training.passes import collect, collect_gradient_norms, evaluate, run_epoch
from gradmatch_jax.training.presets import AUTO
from gradmatch_jax.training.schedule import Bill, Epoch, cosine
from gradmatch_jax.training.state import Limit, Run, TrainState

OWN = "own"  # the name of a strategy that was handed over without one


class Result(NamedTuple):
    """What a run came to."""

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

    Returns:
        The summary (as in result.json), the final state with the network's variables, and the log.

    Raises:
        UserError: bad configuration, data or folder, before anything long starts; a run that
          diverges; a strategy of the user's own that returns what cannot be.

    Example:
        >>> config = TrainConfig(strategy="random", fraction=0.1, epochs=2, model="logistic")
        >>> train(config).summary["subset_size"]
        129
    """
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
    dataset = dataset if dataset is not None else load(resolved)
    folder = RunFolder(Path(out).expanduser(), resolved) if out is not None else None
    try:
        run, state = prepare(resolved, dataset, model)
        return _train(run, state, folder, on_epoch)
    finally:
        if folder is not None:
            folder.close()


def _train(run: Run, state: TrainState, folder: RunFolder | None, on_epoch) -> Result:
    restored = folder.restore(state) if folder is not None else None
    state = state if restored is None else restored
    if folder is not None and folder.result is not None:
        return Result(folder.result, state, folder.read_log())
    log, saved = [], time.monotonic()
    while not _done(run, state):
        index = int(state.epoch)
        state, row = _epoch(run, state, index)
        _check_finite(state, row, folder)
        last = _done(run, state)
        if last or ((index + 1) % run.eval_every == 0 and run.plan[index].network == "model"):
            row |= _accuracies(run, state)
        log.append(row)
        if folder is not None:
            folder.log(row)
            if last or time.monotonic() - saved >= run.checkpoint_seconds:
                folder.save(index + 1, state)
                saved = time.monotonic()
        on_epoch(row, len(run.plan))
    log = log if folder is None else folder.read_log()
    summary = _summary(run, state, log)
    if folder is not None:
        size = int(state.selection.size)
        folder.finish(
            summary,
            np.asarray(state.selection.indices)[:size],
            np.asarray(state.selection.weights)[:size],
        )
    return Result(summary, state, log)


def _accuracies(run: Run, state: TrainState) -> dict[str, float]:
    """Of the network on the test and the validation split, in percent."""
    steps, variables = run.steps["model"], state.learner.variables
    return {
        "test_accuracy": evaluate(steps, variables, run.test),
        "validation_accuracy": evaluate(steps, variables, run.validation),
    }


def _spent(limit: Limit, state: TrainState) -> float:
    """The share of the limit that is spent, at most 1."""
    seconds = float(state.times.train) + float(state.times.selection)
    spent = seconds if limit.unit == "seconds" else float(state.joules)
    if np.isnan(spent):
        raise UserError("the energy meter stopped answering: use --like-by seconds")
    return 1.0 if spent >= limit.amount else spent / limit.amount


def _done(run: Run, state: TrainState) -> bool:
    spent_all = run.limit is not None and _spent(run.limit, state) >= 1
    return int(state.epoch) >= len(run.plan) or spent_all


def _progress(run: Run, state: TrainState, epoch: Epoch) -> float:
    """The place in the learning rate's schedule: of what is spent, where that is what is fitted."""
    if run.limit is not None and run.limit.fitted:
        return _spent(run.limit, state)
    return epoch.progress


def _epoch(run: Run, state: TrainState, index: int) -> tuple[TrainState, dict[str, Any]]:
    """Select if the plan says so, then one epoch of SGD; returns the state and its log row."""
    epoch = run.plan[index]
    select_key, sgd_key = jax.random.split(jax.random.fold_in(run.key, index))
    row: dict[str, Any] = {
        "epoch": index,
        "full": epoch.full,
        "proxy": epoch.network == "proxy",
    }
    if epoch.select:
        state, row["selection"] = _select(run, state, select_key)
    chosen = examples_of(epoch, state.selection, len(run.train))
    lr = cosine(run.lr, _progress(run, state, epoch))
    fresh = epoch.fresh
    learner = fresh_network(run, epoch.network, index) if fresh else state.networks[epoch.network]
    with _billed(run, state, epoch.bill) as bill:
        learner, loss, seen = run_epoch(
            run.steps[epoch.network], learner, run.train, *chosen,
            batch_size=run.batch_size, lr=lr, key=sgd_key, batching=epoch.batching,
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


def take_snapshot(run: Run, state: TrainState, key: jax.Array) -> Snapshot:
    """What the strategy needs to know of the network that scores, on the rows it looks at."""
    steps, needs = run.steps[run.scorer], run.strategy.needs
    variables = state.networks[run.scorer].variables
    rows = run.strategy.rows(state.strategy, key)

    def look(feed: Feed, part: np.ndarray | None) -> Pass:
        labels = feed.labels if part is None else feed.labels[part]
        return Pass(*collect(steps, variables, feed, rows=part), labels)

    train_rows, held_rows = (None, None) if rows is None else rows
    norms = None
    if "gradient_norms" in needs:
        norms = collect_gradient_norms(steps, variables, run.train, rows=train_rows)
    return Snapshot(
        train=look(run.train, train_rows) if "train" in needs else None,
        validation=look(run.validation, held_rows) if "validation" in needs else None,
        gradient_norms=norms,
        rows=rows,
    )


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    parts = [
        jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree) if jnp.issubdtype(x, jnp.inexact)
    ]
    return jnp.all(jnp.stack(parts)) if parts else jnp.asarray(True)


def _check_finite(state: TrainState, row: dict[str, Any], folder: RunFolder | None) -> None:
    """A bad state is told before it is saved.

    Raises:
        Diverged: the epoch's loss or a parameter is nan or infinite.
    """
    loss = row["train_loss"]
    if np.isfinite(loss) and bool(_all_finite(state.networks)):
        return
    what = f"the training loss is {loss}" if not np.isfinite(loss) else "parameters are nan or inf"
    kept = "" if folder is None else f" in another --out ({folder.describe_last()})"
    raise Diverged(f"{what} in epoch {row['epoch']}: training diverged; lower --lr{kept}")


def describe(selection: Selection) -> dict[str, Any]:
    """A selection's diagnostics, as logged."""
    return {
        "size": int(selection.size),
        "num_matched": int(selection.num_matched),
        "matching_error": float(selection.matching_error),
    }


def _summary(run: Run, state: TrainState, log: list[dict[str, Any]]) -> dict[str, Any]:
    times = state.times
    selections = [row["selection"] for row in log if "selection" in row]
    done = run.plan[: int(state.epoch)]
    own = [epoch for epoch in done if epoch.network == "model"]
    subsets = [row["examples"] for row in log if not row["full"]]
    return {
        "test_accuracy": log[-1]["test_accuracy"],  # the last epoch's, always measured
        "validation_accuracy": log[-1]["validation_accuracy"],  # to tune by
        "train_seconds": float(times.train),
        "selection_seconds": float(times.selection),
        "compile_seconds": float(times.compile),
        "joules": None if np.isnan(state.joules) else float(state.joules),
        "energy_source": run.meter.source,
        "epochs": len(own),
        "full_epochs": sum(epoch.full for epoch in own),
        "proxy_epochs": len(done) - len(own),
        "examples": sum(row["examples"] for row in log),  # seen in all, the proxy's included
        "subset_size": subsets[-1] if subsets else run.facts["train_size"],
        "num_matched": [s["num_matched"] for s in selections],
        "matching_error": [s["matching_error"] for s in selections],
        **run.facts,
    }
