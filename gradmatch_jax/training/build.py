"""How a configuration becomes a run: data, networks, strategy, plan and limit."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradmatch_jax.data import Dataset, load_dataset
from gradmatch_jax.data.ahead import require_grain
from gradmatch_jax.data.catalogue import DATASETS
from gradmatch_jax.data.imbalance import imbalanced
from gradmatch_jax.data.noise import mislabelled
from gradmatch_jax.errors import UserError
from gradmatch_jax.measure.clock import Times
from gradmatch_jax.measure.energy import Meter, find_meter
from gradmatch_jax.measure.versions import device_name, versions
from gradmatch_jax.models import build_model
from gradmatch_jax.models.checks import check_model_output
from gradmatch_jax.models.model import Model
from gradmatch_jax.selection.result import empty_selection
from gradmatch_jax.strategies.pool import build_pooled
from gradmatch_jax.strategies.strategy import Strategy, Task, scaled
from gradmatch_jax.training.config import RunConfig, TrainConfig, network_name
from gradmatch_jax.training.feed import Feed, default_model, input_spec
from gradmatch_jax.training.keys import first_keys
from gradmatch_jax.training.placement import Placement, everywhere
from gradmatch_jax.training.schedule import Network, budget_of, plan
from gradmatch_jax.training.state import Limit, Run, TrainState
from gradmatch_jax.training.steps import Steps, make_steps


def load(config: TrainConfig) -> Dataset:
    """The data set a configuration names; what it is to be like is read first.

    Raises:
        UserError: it cannot be read, or it is streamed and grain is missing.
    """
    if config.like is not None:
        _result_of(config.like)
    if DATASETS[config.dataset].streamed:
        require_grain()
    dataset = load_dataset(
        config.dataset,
        config.data_dir,
        reader=config.reader,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        image_size=config.image_size,
    )
    if config.imbalance < 1:
        dataset = imbalanced(dataset, config.imbalance, config.imbalance_classes, seed=config.seed)
    return (
        mislabelled(dataset, config.label_noise, seed=config.seed)
        if config.label_noise
        else dataset
    )


def prepare(
    config: RunConfig, dataset: Dataset, model: Model | None = None
) -> tuple[Run, TrainState]:
    """The run of a resolved configuration, and the state it starts from.

    Args:
        config: with every setting decided.
        dataset: what it trains on.
        model: the user's own instead of the one that `config` names.

    Raises:
        UserError: the model does not fit the data, `like` is no finished run, or its energy is to
          be spent and was not measured, or cannot be here.
    """
    n = len(dataset.train)
    budget = budget_of(config.fraction, n)
    meter = find_meter()
    limit, share = _cost(config, meter, n, budget)
    strategy = _strategy(config, dataset, budget)
    place = everywhere(config.devices)
    steps = _all_steps(config, dataset, model, strategy, place)
    if model is not None:
        _check_model(model, dataset)
    parts = (dataset.train, dataset.validation, dataset.test)
    feeds = [Feed(part, place, config) for part in parts]
    run = Run(
        name=config.strategy,
        plan=plan(
            config.epochs,
            share,
            regime=config.entry.regime,
            reselect=config.entry.reselect,
            weighting=strategy.weighting,
            ordered=strategy.ordered,
            warm=config.warm,
            kappa=config.kappa,
            select_every=config.select_every,
            tail=config.tail,
            proxy_epochs=config.proxy_epochs or 0,
            proxy_runs=config.proxy_runs,
        ),
        limit=limit,
        lr=config.lr,
        schedule=config.schedule,
        batch_size=config.batch_size,
        eval_every=config.eval_every,
        checkpoint_seconds=config.checkpoint_seconds,
        checkpoint_steps=config.checkpoint_steps,
        steps=steps,
        scorer="proxy" if "proxy" in steps else "model",
        strategy=strategy,
        train=feeds[0],
        validation=feeds[1],
        test=feeds[2],
        pass_dtype=None if config.pass_dtype == "float32" else config.pass_dtype,
        place=place,
        meter=meter,
        key=jax.random.key(config.seed),
        facts=_facts(config, dataset, model),
        num_classes=dataset.num_classes,
        rows={
            "train_rows": np.asarray(dataset.train.rows),
            "validation_rows": np.asarray(dataset.validation.rows),
        },
    )
    return run, _first_state(run, budget)


def _first_state(run: Run, budget: int) -> TrainState:
    init_key, strategy_key = first_keys(run.key)
    networks: dict[Network, Any] = {"model": run.place.replicate(run.steps["model"].init(init_key))}
    if "proxy" in run.steps:
        networks["proxy"] = fresh_network(run, "proxy", 0)
    nothing = empty_selection(budget)._replace(matching_error=jnp.asarray(jnp.nan))
    return TrainState(
        networks=networks,
        selection=nothing,
        strategy=run.strategy.init(strategy_key),
        epoch=0,
        times=Times(),
        joules=0.0,
    )


def fresh_network(run: Run, network: Network, epoch: int) -> Any:
    """A new start of a network, for the epochs that begin at `epoch` of the plan."""
    key = jax.random.fold_in(jax.random.fold_in(run.key, 2**31 + 1), epoch)
    return run.place.replicate(run.steps[network].init(key))


def _strategy(config: RunConfig, dataset: Dataset, budget: int) -> Strategy:
    labels = np.asarray(dataset.train.labels)
    task = Task(labels, dataset.num_classes, budget, np.asarray(dataset.validation.labels))
    strategy = build_pooled(config.entry, task, config.strategy_settings, config.pool)
    return scaled(strategy, config.weighting)


def _all_steps(
    config: RunConfig,
    dataset: Dataset,
    model: Model | None,
    strategy: Strategy,
    place: Placement,
) -> dict[Network, Steps]:
    """The steps of the networks that the plan trains; the user's own model is the run's."""
    names: dict[Network, str | None] = {"model": config.model}
    if config.proxy_epochs:
        names["proxy"] = config.proxy
    spec = input_spec(dataset)

    def steps(network: Network, asked: str | None) -> Steps:
        own = model if asked == config.model else None
        if own is None:
            name = network_name(str(asked), default_model(dataset))
            own = build_model(name, spec, dataset.num_classes, bf16=config.bf16)
        return make_steps(
            own,
            dataset,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            augmented=config.augment,
            record=strategy.record,
            optimizer=config.optimizer,
            place=place,
        )

    return {network: steps(network, name) for network, name in names.items()}


def _check_model(model: Model, dataset: Dataset) -> None:
    """What a model of the user's own gives for two inputs, by shape: nothing is computed.

    Raises:
        UserError: it cannot be applied to them, or does not give (logits, features, stats) as it
          should.
    """
    spec = input_spec(dataset)
    inputs = jax.ShapeDtypeStruct((2, *spec.shape), spec.dtype)
    try:
        variables = jax.eval_shape(model.init, jax.random.key(0))
        output = jax.eval_shape(lambda v, x: model.apply(v, x, True), variables, inputs)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {model.name} cannot be applied to inputs of shape {spec.shape}: {said}"
        ) from error
    check_model_output(model.name, output, dataset.num_classes, 2)


def _facts(config: RunConfig, dataset: Dataset, model: Model | None) -> dict[str, Any]:
    own = default_model(dataset)
    return {
        "train_size": len(dataset.train),
        "strategy": config.strategy,
        "fraction": config.fraction,
        "warm": config.warm,
        "seed": config.seed,
        "dataset": config.dataset,
        "model": model.name if model is not None else network_name(config.model, own),
        "versions": versions(),
        "device": device_name(),
    }


def _cost(config: RunConfig, meter: Meter, n: int, budget: int) -> tuple[Limit | None, float]:
    """Where to stop (or None), and the share k/n of full training to plan for."""
    if config.like is None:
        return None, budget / n
    result = _result_of(config.like)
    if config.like_by == "examples":
        return None, min(result["examples"] / (n * config.epochs), 1.0)
    cut = config.entry.regime.cut
    fitted = cut is not None and cut.fitted
    if config.like_by == "seconds":
        seconds = result["train_seconds"] + result["selection_seconds"]
        return Limit("seconds", seconds, fitted), 1.0
    if result["joules"] is None or meter.source != result["energy_source"]:
        raise UserError(
            f"--like-by energy needs the same meter in both runs; {config.like}: "
            f"{result['energy_source']}; here: {meter.source}"
        )
    return Limit("energy", result["joules"], fitted), 1.0


def _result_of(folder: Path) -> dict[str, Any]:
    file = folder / "result.json"
    try:
        result = json.loads(file.read_text())
        spent = {k: float(result[k]) for k in ("examples", "train_seconds", "selection_seconds")}
        joules, source = result.get("joules"), result.get("energy_source", "not recorded")
        joules = None if joules is None else float(joules)
    except OSError as error:
        raise UserError(f"--like {folder} is no finished run: there is no {file}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"--like {folder}: {file} is no result of this version") from error
    wrong = [k for k, v in spent.items() if not 0 <= v < float("inf")]
    if wrong or not (joules is None or 0 <= joules < float("inf")):
        raise UserError(f"--like {folder}: {file} says {(wrong or ['joules'])[0]} that cannot be")
    return spent | {"joules": joules, "energy_source": source}
