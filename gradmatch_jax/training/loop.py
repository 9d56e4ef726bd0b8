"""The driver: alternates selection and weighted SGD epochs (paper, Algorithm 1)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gradmatch_jax.data import Dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.measure.clock import lap
from gradmatch_jax.measure.versions import device_name, versions
from gradmatch_jax.models.model import Model
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies import STRATEGIES
from gradmatch_jax.strategies.strategy import Weighting
from gradmatch_jax.training.build import load, new_proxy, prepare, take_snapshot
from gradmatch_jax.training.config import TrainConfig, resolve
from gradmatch_jax.training.folder import RunFolder
from gradmatch_jax.training.passes import evaluate, run_epoch
from gradmatch_jax.training.schedule import Epoch, cosine
from gradmatch_jax.training.state import Limit, Run, TrainState


class Result(NamedTuple):
    """What a run came to."""

    summary: dict[str, Any]  # as in result.json
    state: TrainState
    log: list[dict[str, Any]]  # the rows of metrics.jsonl


def train(
    config: TrainConfig,
    out: Path | None = None,
    *,
    dataset: Dataset | None = None,
    model: Model | None = None,
    on_epoch: Callable[[dict[str, Any], int], None] = lambda row, total: None,
) -> Result:
    """Train as `config` says; with `out`, log and checkpoint there and resume what is there.

    dataset, model: the user's own instead of those `config` names.
    on_epoch: called with each log row and the number of epochs in the plan.

    Raises:
        UserError: bad configuration, data or folder, before anything long starts.
    """
    config = resolve(config)
    dataset = dataset if dataset is not None else load(config)
    folder = RunFolder(out, config) if out is not None else None
    try:
        return _train(config, dataset, model, folder, on_epoch)
    finally:
        if folder is not None:
            folder.close()


def _train(config, dataset, model, folder, on_epoch) -> Result:
    run, state = prepare(config, dataset, model)
    restored = folder.restore(state) if folder is not None else None
    state = state if restored is None else restored
    if folder is not None and folder.result is not None:
        return Result(folder.result, state, folder.read_log())
    log, saved = [], time.monotonic()
    total = len(run.plan)
    while not _done(run, state):
        index = int(state.epoch)
        state, row = _epoch(run, state, index)
        last = _done(run, state)
        if last or ((index + 1) % config.eval_every == 0 and not run.plan[index].proxy):
            for name, feed in (("test", run.test), ("validation", run.validation)):
                row[f"{name}_accuracy"] = evaluate(run.steps, state.learner.variables, feed)
        log.append(row)
        if folder is not None:
            folder.log(row)
            if last or time.monotonic() - saved >= config.checkpoint_seconds:
                folder.save(index + 1, state)
                saved = time.monotonic()
        on_epoch(row, total)
    if folder is not None:
        log = folder.read_log()
    summary = _summary(run, state, dataset, log)
    if folder is not None:
        size = int(state.selection.size)
        folder.finish(
            summary,
            np.asarray(state.selection.indices)[:size],
            np.asarray(state.selection.weights)[:size],
        )
    return Result(summary, state, log)


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
    if run.limit is not None and STRATEGIES[run.config.strategy].kind == "early-stop-fitted":
        return _spent(run.limit, state)
    return epoch.progress


def _epoch(run: Run, state: TrainState, index: int) -> tuple[TrainState, dict[str, Any]]:
    """Select if the plan says so, then one epoch of SGD; returns the state and its log row."""
    epoch = run.plan[index]
    select_key, sgd_key = jax.random.split(jax.random.fold_in(run.key, index))
    row: dict[str, Any] = {"epoch": index, "full": epoch.full, "proxy": epoch.proxy}
    if epoch.select:
        state, row["selection"] = _select(run, state, select_key)
    indices, weights = _examples(run, state.selection, epoch)
    lr = cosine(run.config.lr or 0.0, _progress(run, state, epoch))
    steps, learner = run.steps, state.learner
    if epoch.proxy:
        assert run.proxy_steps is not None
        steps = run.proxy_steps
        learner = new_proxy(run, index) if epoch.fresh else state.proxy
    start = run.meter.read()
    with lap() as read:
        learner, loss, seen = run_epoch(
            steps, learner, run.train, indices, weights,
            batch_size=run.config.batch_size or 1, lr=lr, key=sgd_key,
            relative_weights=_weighting(run) == "batch" and not epoch.full,
            whole_batches=not epoch.full and STRATEGIES[run.config.strategy].kind == "pruning",
        )  # fmt: skip
        strategy_state = state.strategy
        if epoch.proxy or run.proxy_steps is None:  # scores are of one network's training
            strategy_state = run.strategy.observe(strategy_state, seen)
        jax.block_until_ready((learner, strategy_state))
    if not np.isfinite(loss):
        raise UserError(
            f"the training loss is {loss} in epoch {index}: training diverged; lower --lr"
        )
    spent, times = read(), state.times
    phase = "selection" if epoch.proxy else "train"
    times = times._replace(**{phase: getattr(times, phase) + spent.work})
    times = times._replace(compile=times.compile + spent.compile)
    changed = {"proxy" if epoch.proxy else "learner": learner}
    joules = state.joules + run.meter.since(start)
    state = state._replace(
        strategy=strategy_state, epoch=index + 1, times=times, joules=joules, **changed
    )
    row |= {"lr": lr, "train_loss": loss, "examples": len(seen.indices), "joules": joules}
    row |= {f"{name}_seconds": value for name, value in times._asdict().items()}
    return state, row


def _select(run: Run, state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
    """A new selection; returns the state and what is logged of it."""
    start = run.meter.read()
    with lap() as read:
        selection, strategy_state = run.strategy.select(
            state.strategy, take_snapshot(run, state), key
        )
        jax.block_until_ready((selection, strategy_state))
    spent, times = read(), state.times
    times = times._replace(
        selection=times.selection + spent.work, compile=times.compile + spent.compile
    )
    joules = state.joules + run.meter.since(start)
    state = state._replace(selection=selection, strategy=strategy_state, times=times, joules=joules)
    return state, describe(selection) | {"seconds": spent.work}


def _examples(run: Run, selection: Selection, epoch: Epoch) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's examples and their weights, rescaled as `Strategy.weighting` says."""
    n = len(run.train)
    if epoch.full:
        return np.arange(n, dtype=np.int32), np.ones(n, np.float32)
    size = int(selection.size)
    if size == 0:
        raise UserError("the selection is empty: use --fill random or a smaller --lam")
    indices, weights = np.asarray(selection.indices)[:size], np.asarray(selection.weights)[:size]
    mean = float(weights.mean())
    return indices, weights / mean if _weighting(run) != "none" and mean > 0 else weights


def _weighting(run: Run) -> Weighting:
    return run.config.weighting or run.strategy.weighting


def describe(selection: Selection) -> dict[str, Any]:
    """A selection's diagnostics, as logged."""
    return {
        "size": int(selection.size),
        "num_matched": int(selection.num_matched),
        "matching_error": float(selection.matching_error),
    }


def _summary(run: Run, state: TrainState, dataset: Dataset, log) -> dict[str, Any]:
    config, times = run.config, state.times
    selections = [row["selection"] for row in log if "selection" in row]
    done = run.plan[: int(state.epoch)]
    own = [epoch for epoch in done if not epoch.proxy]
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
        "train_size": len(dataset.train),
        "subset_size": subsets[-1] if subsets else len(dataset.train),
        "num_matched": [s["num_matched"] for s in selections],
        "matching_error": [s["matching_error"] for s in selections],
        "strategy": config.strategy,
        "fraction": config.fraction,
        "warm": config.warm,
        "seed": config.seed,
        "dataset": config.dataset,
        "model": config.model,
        "versions": versions(),
        "device": device_name(),
    }
