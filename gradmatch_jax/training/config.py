"""The configuration of a run: as a user gives it, and with every setting decided.

No JAX here: the command line reads this to print its help.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.inputs.values import (
    BELOW_ONE,
    COUNT,
    INSIDE,
    NOT_NEGATIVE,
    SEED,
    SHARE,
    SIDE,
    Range,
)
from gradmatch_jax.settings import as_option, checked
from gradmatch_jax.solvers.options import MatchingOptions, matching_options, refuse_contradictions
from gradmatch_jax.strategies.registry import Entry, find_entry, keywords, split_name
from gradmatch_jax.strategies.settings import StrategySettings, fill_of
from gradmatch_jax.training.presets import AUTO, PRESETS
from gradmatch_jax.training.reading import READING, ReadSettings
from gradmatch_jax.training.schedule import Optimizer, Schedule

CONFIG = "config.json"  # a run's own, in its folder
FACTS = "data"  # in it: what the run was given beside its configuration
DEFAULT_FRACTION = 0.1
# EL2N and GraNd are read early in training: 10 to 20 epochs (Paul et al. 2021).
DEFAULT_PROXY_EPOCHS = 10
# A plan lists its epochs, and takes as long and as much memory as they are many.
EPOCHS = Range(1, 1_000_000)
PROXY_EPOCHS = Range(1, 10_000)
PROXY_RUNS = Range(1, 100)


@dataclass(frozen=True)
class PlanSettings:
    """When to select, from what, and for how long: each for the strategies that it applies to."""

    warm: bool = False
    """Start with kappa T k/n epochs of full training, then kappa T on subsets."""
    select_every: Annotated[int, COUNT] = 20
    """R: epochs between selections."""
    kappa: Annotated[float, SHARE] = 0.5
    """Share of T spent on subsets in a warm run."""
    pool: Annotated[float, SHARE] = 1.0
    """Share of the data that a selection looks at, drawn anew each time (at least twice the
    budget)."""
    pass_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the logits and features of the pass before a selection are kept in; what is computed
    with them is float32."""
    weighting: Literal["own", "selection", "batch", "none"] = "own"
    """Bring the weights to mean 1 once a selection, in each mini-batch (as the reference
    implementation does), or never. own: as the strategy has it."""
    tail: Annotated[float, BELOW_ONE] = 0.125
    """infobatch: share of the epochs, the last ones, that train on everything."""
    proxy: str | None = None
    """Model that trains first and scores the examples (forgetting, entropy, el2n, grand,
    facility-location). None: the run's own model; in a warm run, the run's own full epochs."""
    proxy_epochs: Annotated[int | None, PROXY_EPOCHS] = None
    """Epochs of full training before the proxy scores; their time is selection time. None: 10."""
    proxy_runs: Annotated[int, PROXY_RUNS] = 1
    """Proxies, each from a fresh start, over which the scores are averaged."""
    like: Path | None = None
    """full-earlystop: folder of a finished run to spend as much as. None: fraction x epochs."""
    like_by: Literal["seconds", "examples", "energy"] = "seconds"
    """What is spent: seconds or joules of training and selection, or examples seen."""


@dataclass(frozen=True)
class Settings(PlanSettings, StrategySettings, ReadSettings):
    """What a run and a comparison of runs share."""

    dataset: str = "digits"
    """digits (embedded), mnist, cifar10, cifar100, svhn, imagenet, npz (arrays), tsv (texts)."""
    data_dir: Path | None = None
    """Folder of the data set's original files (npz: the file; tsv: FOLDER/NAME of
    NAME.train.tsv). None: download, where there is a network."""
    reader: Literal["files", "tfds"] = "files"
    """Read the original files, or what TensorFlow Datasets prepared in --data-dir."""
    model: str | None = None
    """lenet, mnistnet, mlp, logistic, resnet18, resnet20, resnet164, embedding-bag. None: the data
    set's own; of an npz by its inputs: mlp, embedding-bag, and of images lenet, or resnet18 from
    10,000 of them and 50 million pixels on."""
    epochs: Annotated[int | None, EPOCHS] = None
    """T: epochs of a cold run. None: the paper's for the data set; npz 100, tsv 60."""
    batch_size: Annotated[int | None, COUNT] = None
    """Examples a step. None: the data set's own."""
    lr: Annotated[float | None, Range(0, open_low=True)] = None
    """Initial learning rate. None: 0.01, the paper's (of sgd; adamw wants about 0.001)."""
    optimizer: Optimizer = "sgd"
    """sgd with momentum, as in the paper, or adamw."""
    schedule: Schedule = "cosine"
    """How the learning rate falls to 0, epoch by epoch: cosine as in the paper, linear, or not at
    all (constant)."""
    momentum: Annotated[float, BELOW_ONE] = 0.9
    """Of sgd."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 5e-4
    """Of every parameter."""
    imbalance: Annotated[float, SHARE] = 1.0
    """Keep this share of the training examples of some classes (0.1 or 0.5 in the paper). 1: keep
    all."""
    imbalance_classes: Annotated[float, SHARE] = 0.3
    """The share of the classes that --imbalance cuts, drawn by the seed."""
    label_noise: Annotated[float, BELOW_ONE] = 0.0
    """Turn this share of each class's training labels into the next class's (0.2 or 0.45 in the
    field); validation and test stay clean."""
    augment: bool = True
    """Random crops and flips where the field uses them (CIFAR, SVHN, ImageNet)."""
    bf16: bool = False
    """Compute in bfloat16 (parameters stay float32)."""
    validation_fraction: Annotated[float, INSIDE] = 0.1
    """Share of the training set held out where the set has no validation split (Table 1)."""
    image_size: Annotated[int, SIDE] = 224
    """Side of ImageNet's images in pixels."""
    eval_every: Annotated[int, COUNT] = 10
    """Epochs between tests (outside the clock); the last epoch is always tested."""
    checkpoint_seconds: Annotated[float, NOT_NEGATIVE] = 60.0
    """Least time between checkpoints. Does not change the result."""
    checkpoint_steps: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Where an epoch is long: save within it as well, every so many steps, and at once where the
    run is asked to stop. 0: after epochs alone. Does not change the result."""
    devices: Annotated[int, Range(0)] = 1
    """How many of this machine's devices share each mini-batch and pass; 0: all, as --distributed
    has it. Sums are rounded in another order on several."""


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Train on a weighted subset of the data."""

    strategy: str = "gradmatch"
    """See `gradmatch-jax strategies`; NAME-warm is NAME with --warm."""
    fraction: Annotated[float | None, SHARE] = None
    """k/n: the share of the training set to train on. None: 0.1."""
    seed: Annotated[int, SEED] = 0
    """Of everything that is drawn."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(TrainConfig):
    """A configuration with every setting decided; what does not apply stands at its default."""

    # Decided here, hence without the defaults they have above.
    model: str  # pyright: ignore[reportGeneralTypeIssues]  # AUTO: as the data, once read, want it
    epochs: int  # pyright: ignore[reportGeneralTypeIssues]
    batch_size: int  # pyright: ignore[reportGeneralTypeIssues]
    lr: float  # pyright: ignore[reportGeneralTypeIssues]
    fraction: float  # pyright: ignore[reportGeneralTypeIssues]
    entry: Entry  # the strategy's line in the registry, or of the user's own
    applies: frozenset[str]  # the settings that this run heeds

    def to_json(self) -> dict[str, Any]:
        """What decides the run, as JSON values: the settings that apply and have a value."""
        values = {name: getattr(self, name) for name in sorted(self.applies)}
        found = {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
        return {k: v for k, v in found.items() if v is not None}

    @property
    def strategy_settings(self) -> dict[str, Any]:
        """What the strategy's function may take: the settings by name, "options" for matching."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig)}
        return settings | {"options": matching_options(self)}


# What a run may change between a kill and its resumption without becoming another run.
NOT_IDENTITY = {"checkpoint_seconds", "checkpoint_steps", "data_dir", "devices"} | READING
# Settings that not every run heeds; the others all do.
OPTIONAL = frozenset(
    {"fraction", "imbalance_classes", "image_size", "momentum"}
    | {f.name for kind in (StrategySettings, PlanSettings) for f in dataclasses.fields(kind)}
)
ALWAYS = frozenset(f.name for f in dataclasses.fields(TrainConfig)) - OPTIONAL


def resolve(
    config: TrainConfig,
    *,
    entry: Entry | None = None,
    given: frozenset[str] = frozenset(),
    strict: bool = True,
) -> RunConfig:
    """`config` with the data set's defaults filled in and every setting checked.

    Args:
        config: as the user gave it; a `RunConfig` is returned as it is.
        entry: the strategy, where it is the user's own and in no registry.
        given: settings that were named, at whatever value; those that differ from their default are
          found without.
        strict: refuse settings that do not apply to the strategy. A comparison, where others may
          want them, leaves them out instead.

    Raises:
        UserError: a name that does not exist, a value that cannot be, or a setting that does not
          apply; nothing has been read.
    """
    if isinstance(config, RunConfig):
        return config
    config = checked(config)
    refuse_contradictions(config)
    if config.dataset not in PRESETS:
        raise no_such("data set", config.dataset, PRESETS)
    name, warm = split_name(config.strategy)
    entry = find_entry(name) if entry is None else entry
    warm = warm or config.warm
    _check_models(config)
    preset = PRESETS[config.dataset]
    filled = {
        field: getattr(config, field) if getattr(config, field) is not None else default
        for field, default in dataclasses.asdict(preset).items()
    }
    config = dataclasses.replace(config, strategy=name, warm=warm, **filled)
    applies = _applies(config, entry)
    asked = given | changed(config)
    others = sorted(OPTIONAL & asked - applies)
    if others and strict:
        raise UserError(_does_not_apply(config, entry, others[0]))
    return _decided(config, entry, applies)


def _check_models(config: TrainConfig) -> None:
    from gradmatch_jax.models import model_names

    for kind, model in (("model", config.model), ("proxy model", config.proxy)):
        if model not in (None, AUTO, *model_names()):
            raise no_such(kind, str(model), model_names())


def changed(config: TrainConfig) -> frozenset[str]:
    """The settings that are not at their default."""
    fields = dataclasses.fields(TrainConfig)
    return frozenset(f.name for f in fields if getattr(config, f.name) != f.default)


def _applies(config: TrainConfig, entry: Entry) -> frozenset[str]:
    """The settings that a run of this strategy heeds."""
    regime = entry.regime
    warm = config.warm and regime.warms
    scored = regime.scored and (not warm or config.proxy is not None)
    rules = {
        "fraction": regime.budgeted,
        "warm": regime.warms,
        "kappa": warm,
        "select_every": regime.subsets and entry.reselect == "interval",
        "pool": entry.reads,
        "pass_dtype": entry.reads,
        "weighting": regime.subsets,
        "tail": regime.tail,
        "proxy": regime.scored,
        "proxy_epochs": scored,
        "proxy_runs": scored,
        "like": regime.cut is not None,
        "like_by": regime.cut is not None and config.like is not None,
        "imbalance_classes": config.imbalance < 1,
        "momentum": config.optimizer == "sgd",
        "image_size": config.dataset == "imagenet",
    }
    own = keywords(entry)
    if "options" in own:
        own |= {f.name for f in dataclasses.fields(MatchingOptions)}
    return ALWAYS | (own & OPTIONAL) | {name for name, holds in rules.items() if holds}


def _does_not_apply(config: TrainConfig, entry: Entry, name: str) -> str:
    """One line: which setting, and what it needs."""
    flag = as_option(name)
    needs = {"imbalance_classes": "--imbalance", "image_size": "--dataset imagenet"}
    needs |= {"momentum": "--optimizer sgd"}
    needs |= {"kappa": "--warm"} if entry.regime.warms else {}
    needs |= {"like_by": "--like"} if entry.regime.cut is not None else {}
    if name in needs:
        return f"{flag} needs {needs[name]}; leave it out or add that"
    if name in ("proxy_epochs", "proxy_runs") and entry.regime.scored:
        return f"{flag} needs --proxy in a warm run, whose own epochs score otherwise"
    return f"{flag} does not apply to {config.strategy}; leave it out"


def _decided(config: TrainConfig, entry: Entry, applies: frozenset[str]) -> RunConfig:
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(TrainConfig)}
    for field in dataclasses.fields(TrainConfig):
        if field.name not in applies:
            values[field.name] = field.default
    values["fill"] = fill_of(values["fill"], entry.fill, config.validation_target)
    fraction = DEFAULT_FRACTION if config.fraction is None else config.fraction
    values["fraction"] = fraction if entry.regime.budgeted else 1.0
    if "proxy_epochs" in applies:
        values["proxy"] = config.proxy or config.model
        values["proxy_epochs"] = config.proxy_epochs or DEFAULT_PROXY_EPOCHS
    return RunConfig(**values, entry=entry, applies=applies)


def network_name(model: str, default: str) -> str:
    """The model that `AUTO` stands for once the data are read."""
    return default if model == AUTO else model
