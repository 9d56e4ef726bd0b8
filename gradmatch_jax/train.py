"""The driver: alternates selection and weighted SGD epochs (paper, Algorithm 1)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.checkpoint import RunFolder
from gradmatch_jax.clock import Times, lap
from gradmatch_jax.config import TrainConfig, resolve
from gradmatch_jax.data import Dataset, load_dataset
from gradmatch_jax.errors import UserError
from gradmatch_jax.feed import Feed
from gradmatch_jax.models import build_model
from gradmatch_jax.models.model import Model
from gradmatch_jax.schedule import Epoch, budget_of, cosine, plan
from gradmatch_jax.selection import Selection
from gradmatch_jax.steps import Learner, Steps, collect, evaluate, make_steps, run_epoch
from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.strategy import Options, Pass, Snapshot, Strategy, Task
from gradmatch_jax.versions import device_name, versions


class TrainState(NamedTuple):
    """All that a resumed run needs; randomness comes from the seed and the epoch."""

    learner: Learner
    selection: Selection
    strategy: Any
    epoch: Any  # epochs done
    times: Times
    test_accuracy: Any  # percent, at the last test


class Result(NamedTuple):
    """What a run came to."""

    summary: dict[str, Any]  # as in result.json
    state: TrainState
    log: list[dict[str, Any]]  # the rows of metrics.jsonl


class _Run(NamedTuple):
    """The fixed parts of a run."""

    config: TrainConfig
    plan: list[Epoch]
    steps: Steps
    strategy: Strategy
    train: Feed
    validation: Feed
    test: Feed
    key: jax.Array


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


def load(config: TrainConfig) -> Dataset:
    """The data set a resolved configuration names."""
    return load_dataset(
        config.dataset,
        config.data_dir,
        reader=config.reader,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        image_size=config.image_size,
    )


def _train(config, dataset, model, folder, on_epoch) -> Result:
    run, state = _prepare(config, dataset, model)
    restored = folder.restore(state) if folder is not None else None
    state = state if restored is None else restored
    if folder is not None and folder.result is not None:
        return Result(folder.result, state, folder.read_log())
    log, saved = [], time.monotonic()
    total = len(run.plan)
    for index in range(int(state.epoch), total):
        state, row = _epoch(run, state, index)
        if (index + 1) % config.eval_every == 0 or index + 1 == total:
            accuracy = evaluate(run.steps, state.learner.variables, run.test)
            state = state._replace(test_accuracy=accuracy)
            row["test_accuracy"] = accuracy
        log.append(row)
        if folder is not None:
            folder.log(row)
            if time.monotonic() - saved >= config.checkpoint_seconds or index + 1 == total:
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


def _prepare(config: TrainConfig, dataset: Dataset, model: Model | None) -> tuple[_Run, TrainState]:
    entry = STRATEGIES[config.strategy]
    n = len(dataset.train)
    budget = budget_of(config.fraction, n)
    shape = dataset.train.shape
    if model is None:
        model = build_model(str(config.model), shape, dataset.num_classes, bf16=config.bf16)
    steps = make_steps(
        model,
        dataset,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        augmented=config.augment and (dataset.flip or dataset.crop_padding > 0),
    )
    assert config.epochs is not None
    assert config.batch_size is not None
    epochs = plan(
        config.epochs,
        budget / n,
        warm=config.warm,
        kappa=config.kappa,
        select_every=config.select_every,
        reselect=entry.reselect,
        full=config.strategy == "full",
    )
    options = Options(
        config.lam, config.lam_scale, config.eps, config.nonnegative, config.fill,
        config.batch_size, config.validation_target,
    )  # fmt: skip
    task = Task(dataset.train.labels, dataset.num_classes, budget)
    strategy = build_strategy(config.strategy, task, options)
    feeds = Feed(dataset.train), Feed(dataset.validation), Feed(dataset.test)
    key = jax.random.key(config.seed)
    run = _Run(config, epochs, steps, strategy, *feeds, key)
    init_key, strategy_key = jax.random.split(jax.random.fold_in(key, 2**31))
    none = jnp.asarray(0)
    empty = Selection(
        jnp.full(budget, -1, jnp.int32), jnp.zeros(budget), none, none, jnp.asarray(jnp.nan)
    )
    state = TrainState(
        learner=steps.init(init_key),
        selection=empty,
        strategy=strategy.init(strategy_key),
        epoch=0,
        times=Times(),
        test_accuracy=float("nan"),
    )
    return run, state


def _epoch(run: _Run, state: TrainState, index: int) -> tuple[TrainState, dict[str, Any]]:
    """Select if the plan says so, then one epoch of SGD; returns the state and its log row."""
    epoch, times = run.plan[index], state.times
    select_key, sgd_key = jax.random.split(jax.random.fold_in(run.key, index))
    row: dict[str, Any] = {"epoch": index, "full": epoch.full}
    if epoch.select:
        with lap() as read:
            selection, strategy_state = run.strategy.select(
                state.strategy, _snapshot(run, state), select_key
            )
            jax.block_until_ready(selection)
        spent = read()
        times = times._replace(
            selection=times.selection + spent.work, compile=times.compile + spent.compile
        )
        state = state._replace(selection=selection, strategy=strategy_state)
        row["selection"] = describe(selection) | {"seconds": spent.work}
    indices, weights = _examples(run, state.selection, epoch)
    lr = cosine(run.config.lr or 0.0, epoch.progress)
    with lap() as read:
        learner, loss = run_epoch(
            run.steps, state.learner, run.train, indices, weights,
            batch_size=run.config.batch_size or 1, lr=lr, key=sgd_key,
        )  # fmt: skip
        jax.block_until_ready(learner)
    spent = read()
    times = times._replace(train=times.train + spent.work, compile=times.compile + spent.compile)
    if not np.isfinite(loss):
        raise UserError(
            f"the training loss is {loss} in epoch {index}: training diverged; lower --lr"
        )
    row |= {"lr": lr, "train_loss": loss, "examples": len(indices)}
    row |= {f"{name}_seconds": value for name, value in times._asdict().items()}
    return state._replace(learner=learner, epoch=index + 1, times=times), row


def _examples(run: _Run, selection: Selection, epoch: Epoch) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's examples and their weights, rescaled to mean 1 once a selection."""
    n = len(run.train)
    if epoch.full:
        return np.arange(n, dtype=np.int32), np.ones(n, np.float32)
    size = int(selection.size)
    if size == 0:
        raise UserError("the selection is empty: use --fill random or a smaller --lam")
    weights = np.asarray(selection.weights)[:size]
    mean = float(weights.mean())
    return np.asarray(selection.indices)[:size], weights / mean if mean > 0 else weights


def _snapshot(run: _Run, state: TrainState) -> Snapshot:
    needs = run.strategy.needs
    return Snapshot(
        train=_pass(run, state, run.train) if "train" in needs else None,
        validation=_pass(run, state, run.validation) if "validation" in needs else None,
    )


def _pass(run: _Run, state: TrainState, feed: Feed) -> Pass:
    logits, features = collect(run.steps, state.learner.variables, feed)
    return Pass(logits, features, feed.labels)


def describe(selection: Selection) -> dict[str, Any]:
    """A selection's diagnostics, as logged."""
    return {
        "size": int(selection.size),
        "num_matched": int(selection.num_matched),
        "matching_error": float(selection.matching_error),
    }


def _summary(run: _Run, state: TrainState, dataset: Dataset, log) -> dict[str, Any]:
    config, times = run.config, state.times
    selections = [row["selection"] for row in log if "selection" in row]
    return {
        "test_accuracy": float(state.test_accuracy),
        "train_seconds": float(times.train),
        "selection_seconds": float(times.selection),
        "compile_seconds": float(times.compile),
        "epochs": len(run.plan),
        "full_epochs": sum(epoch.full for epoch in run.plan),
        "train_size": len(dataset.train),
        "subset_size": int(state.selection.size) if not run.plan[-1].full else len(dataset.train),
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
