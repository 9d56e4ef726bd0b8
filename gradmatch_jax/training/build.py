"""The parts of a run: what is fixed, what changes, and how a configuration becomes both."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gradmatch_jax.data import Dataset, load_dataset
from gradmatch_jax.data.imbalance import imbalanced
from gradmatch_jax.errors import UserError
from gradmatch_jax.measure.clock import Times
from gradmatch_jax.measure.energy import Meter, find_meter
from gradmatch_jax.models import build_model
from gradmatch_jax.models.model import Model
from gradmatch_jax.selection.result import Selection
from gradmatch_jax.strategies import STRATEGIES, build_strategy
from gradmatch_jax.strategies.strategy import Options, Pass, Snapshot, Task
from gradmatch_jax.training.config import TrainConfig
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import collect, collect_gradient_norms
from gradmatch_jax.training.schedule import Epoch, budget_of, plan
from gradmatch_jax.training.state import Limit, Run, TrainState
from gradmatch_jax.training.steps import Steps, make_steps


def load(config: TrainConfig) -> Dataset:
    """The data set a resolved configuration names."""
    dataset = load_dataset(
        config.dataset,
        config.data_dir,
        reader=config.reader,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        image_size=config.image_size,
    )
    if config.imbalance is None:
        return dataset
    return imbalanced(dataset, config.imbalance, config.imbalance_classes, seed=config.seed)


def prepare(
    config: TrainConfig, dataset: Dataset, model: Model | None = None
) -> tuple[Run, TrainState]:
    """The run of a resolved configuration, and the state it starts from.

    Raises:
        UserError: the model does not fit the data, `like` is no finished run, or its energy is to
          be spent and was not measured, or cannot be here.
    """
    n = len(dataset.train)
    budget = budget_of(config.fraction, n)
    meter = find_meter()
    limit, share = _cost(config, meter, n, budget)
    steps = _steps(config, dataset, config.model, model)
    proxy_steps = _steps(config, dataset, config.proxy, model) if config.proxy_epochs else None
    task = Task(dataset.train.labels, dataset.num_classes, budget)
    strategy = build_strategy(config.strategy, task, _options(config))
    feeds = Feed(dataset.train), Feed(dataset.validation), Feed(dataset.test)
    key = jax.random.key(config.seed)
    run = Run(config, _plan(config, share), limit, meter, steps, proxy_steps, strategy, *feeds, key)
    init_key, strategy_key = jax.random.split(jax.random.fold_in(key, 2**31))
    none = jnp.asarray(0)
    empty = Selection(
        jnp.full(budget, -1, jnp.int32), jnp.zeros(budget), none, none, jnp.asarray(jnp.nan)
    )
    state = TrainState(
        learner=steps.init(init_key),
        proxy=new_proxy(run, 0),
        selection=empty,
        strategy=strategy.init(strategy_key),
        epoch=0,
        times=Times(),
        joules=0.0,
    )
    return run, state


def new_proxy(run: Run, epoch: int) -> Any:
    """A fresh network to score with, for the proxy run that starts at `epoch`."""
    if run.proxy_steps is None:
        return ()
    return run.proxy_steps.init(jax.random.fold_in(jax.random.fold_in(run.key, 2**31 + 1), epoch))


def take_snapshot(run: Run, state: TrainState) -> Snapshot:
    """What the strategy needs to know of the network that scores: the proxy, if there is one."""
    steps, learner = run.steps, state.learner
    if run.proxy_steps is not None:
        steps, learner = run.proxy_steps, state.proxy

    def look(feed: Feed) -> Pass:
        return Pass(*collect(steps, learner.variables, feed), feed.labels)

    needs = run.strategy.needs
    return Snapshot(
        train=look(run.train) if "train" in needs else None,
        validation=look(run.validation) if "validation" in needs else None,
        gradient_norms=(
            collect_gradient_norms(steps, learner.variables, run.train)
            if "gradient_norms" in needs
            else None
        ),
    )


def _steps(config: TrainConfig, dataset: Dataset, name: str | None, model: Model | None) -> Steps:
    """The steps of the model `name`; the user's own takes the place of the run's model."""
    if model is None or name != config.model:
        model = build_model(str(name), dataset.train.shape, dataset.num_classes, bf16=config.bf16)
    return make_steps(
        model,
        dataset,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        augmented=config.augment and (dataset.flip or dataset.crop_padding > 0),
    )


def _plan(config: TrainConfig, share: float) -> list[Epoch]:
    assert config.epochs is not None
    entry = STRATEGIES[config.strategy]
    return plan(
        config.epochs,
        share,
        kind=entry.kind,
        warm=config.warm,
        kappa=config.kappa,
        select_every=config.select_every,
        reselect=entry.reselect,
        proxy_epochs=config.proxy_epochs or 0,
        proxy_runs=config.proxy_runs,
    )


def _options(config: TrainConfig) -> Options:
    shared = {name: value for name, value in vars(config).items() if name in Options._fields}
    return Options(**shared)


def _cost(config: TrainConfig, meter: Meter, n: int, budget: int) -> tuple[Limit | None, float]:
    """Where to stop (or None), and the share k/n of full training to plan for."""
    assert config.epochs is not None
    if config.like is None:
        return None, budget / n
    result = _result_of(config.like)
    if config.like_by == "examples":
        return None, min(result["examples"] / (n * config.epochs), 1.0)
    if config.like_by == "seconds":
        return Limit("seconds", result["train_seconds"] + result["selection_seconds"]), 1.0
    if result["joules"] is None or meter.source != result["energy_source"]:
        raise UserError(
            f"--like-by energy needs the same meter in both runs; {config.like}: "
            f"{result['energy_source']}; here: {meter.source}"
        )
    return Limit("energy", result["joules"]), 1.0


def _result_of(folder: Path) -> dict[str, Any]:
    file = folder / "result.json"
    try:
        result = json.loads(file.read_text())
        spent = {k: float(result[k]) for k in ("examples", "train_seconds", "selection_seconds")}
        joules, source = result.get("joules"), result.get("energy_source", "not recorded")
        return spent | {"joules": joules, "energy_source": source}
    except OSError as error:
        raise UserError(f"--like {folder} is no finished run: there is no {file}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--like {folder}: {file} is no result of this version") from error
