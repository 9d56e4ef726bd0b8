"""The configuration of a run, and the paper's settings as each data set's defaults.

No JAX here: the command line reads this to print its help.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.training.presets import PRESETS
from gradmatch_jax.training.schedule import FULL_KINDS

WARM = "-warm"
# EL2N and GraNd are read early in training: 10 to 20 epochs (Paul et al. 2021).
DEFAULT_PROXY_EPOCHS = 10


@dataclass(frozen=True)
class Settings(MatchingOptions):
    """What a run and a comparison of runs share."""

    dataset: str = "digits"
    """digits (embedded), mnist, cifar10, cifar100, svhn, imagenet, npz."""
    data_dir: Path | None = None
    """Folder of the data set's original files (npz: the file). None: download, where there is a
    network."""
    reader: Literal["files", "tfds"] = "files"
    """Read the original files, or what TensorFlow Datasets prepared in --data-dir."""
    model: str | None = None
    """lenet, mnistnet, mlp, logistic, resnet18, resnet20, resnet164. None: the data set's own."""
    epochs: int | None = None
    """T. None: the paper's."""
    select_every: int = 20
    """R: epochs between selections."""
    kappa: float = 0.5
    """Share of T spent on subsets in a warm run."""
    batch_size: int | None = None
    """None: the data set's own."""
    lr: float | None = None
    """Initial learning rate, cosine decay per epoch. None: 0.01, the paper's."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    validation_target: bool = False
    """Match the validation set's gradient (the paper's isValid) instead of the training set's."""
    weighting: Literal["selection", "batch", "none"] | None = None
    """Bring the weights to mean 1 once a selection, in each mini-batch (as the reference
    implementation does), or never. None: the strategy's own."""
    glister_greedy: Literal["taylor", "naive", "stochastic"] = "taylor"
    """glister: take many picks between refreshes of the validation gradient, refresh it after each
    pick, or pick each from a random sample."""
    glister_refresh: float = 0.03
    """glister: picks between refreshes, as a share of the budget (taylor)."""
    proxy: str | None = None
    """Model that trains first and scores the examples (forgetting, entropy, el2n, grand,
    facility-location). None: the run's own model; in a warm run, the run's own full epochs."""
    proxy_epochs: int | None = None
    """Epochs of full training before the proxy scores; their time is selection time. None: 10."""
    proxy_runs: int = 1
    """Proxies, each from a fresh start, over which the scores are averaged."""
    like: Path | None = None
    """full-earlystop: folder of a finished run to spend as much as. None: fraction x epochs."""
    like_by: Literal["seconds", "examples", "energy"] = "seconds"
    """What is spent: seconds or joules of training and selection, or examples seen."""
    imbalance: float | None = None
    """Keep this share of the training examples of some classes (0.1 or 0.5 in the paper). None:
    keep all."""
    imbalance_classes: float = 0.3
    """The share of the classes that --imbalance cuts, drawn by the seed."""
    augment: bool = True
    """Random crops and flips where the field uses them (CIFAR, SVHN, ImageNet)."""
    bf16: bool = False
    """Compute in bfloat16 (parameters stay float32)."""
    validation_fraction: float = 0.1
    """Share of the training set held out where the set has no validation split (Table 1)."""
    image_size: int = 224
    """Side of ImageNet's images in pixels."""
    eval_every: int = 10
    """Epochs between tests (outside the clock); the last epoch is always tested."""
    checkpoint_seconds: float = 60.0
    """Least time between checkpoints. Does not change the result."""


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Train on a weighted subset of the data."""

    strategy: str = "gradmatch"
    """See `gradmatch-jax strategies`; NAME-warm is NAME with --warm."""
    fraction: float = 0.1
    """k/n: the share of the training set to train on."""
    warm: bool = False
    """Start with kappa T k/n epochs of full training, then kappa T on subsets."""
    seed: int = 0


# What a run may change between a kill and its resumption without becoming another run.
NOT_IDENTITY = ("checkpoint_seconds", "data_dir")


def split_name(strategy: str) -> tuple[str, bool]:
    """("gradmatch", True) of "gradmatch-warm"."""
    return strategy.removesuffix(WARM), strategy.endswith(WARM)


def resolve(config: TrainConfig) -> TrainConfig:
    """`config` with the data set's defaults filled in and every number checked.

    Raises:
        UserError: a name that does not exist or a number out of its range; nothing has been read.
    """
    from gradmatch_jax.models import model_names
    from gradmatch_jax.strategies import STRATEGIES

    if config.dataset not in PRESETS:
        raise no_such("data set", config.dataset, PRESETS)
    preset = PRESETS[config.dataset]
    name, warm = split_name(config.strategy)
    if name not in STRATEGIES:
        raise no_such("strategy", name, STRATEGIES)
    filled = {
        field: getattr(preset, field)
        for field in ("model", "epochs", "batch_size", "lr")
        if getattr(config, field) is None
    }
    config = dataclasses.replace(config, strategy=name, warm=config.warm or warm, **filled)
    config = _fit_kind(config, STRATEGIES[name].kind)
    for kind, model in (("model", config.model), ("proxy model", config.proxy)):
        if model is not None and model not in model_names():
            raise no_such(kind, model, model_names())
    _check_ranges(config)
    return config


def _fit_kind(config: TrainConfig, kind: str) -> TrainConfig:
    """The settings that do not apply to a kind of run, put to what it does."""
    if kind in ("full", "pruning"):
        config = dataclasses.replace(config, fraction=1.0)
    if kind in FULL_KINDS or kind == "pruning":
        config = dataclasses.replace(config, warm=False)
    if not kind.startswith("early-stop"):
        config = dataclasses.replace(config, like=None)
    if kind != "scored":
        return dataclasses.replace(config, proxy=None, proxy_epochs=None)
    if config.warm and config.proxy is None:  # the warm start's own epochs are the proxy
        return dataclasses.replace(config, proxy_epochs=None)
    epochs = DEFAULT_PROXY_EPOCHS if config.proxy_epochs is None else config.proxy_epochs
    return dataclasses.replace(config, proxy=config.proxy or config.model, proxy_epochs=epochs)


def _check_ranges(config: TrainConfig) -> None:
    c: Any = config
    rules = [
        ("fraction", 0 < c.fraction <= 1, "above 0 and at most 1 (0.1 is 10 % of the data)"),
        ("kappa", 0 < c.kappa <= 1, "above 0 and at most 1"),
        ("epochs", c.epochs >= 1, "at least 1"),
        ("select_every", c.select_every >= 1, "at least 1 epoch"),
        ("batch_size", c.batch_size >= 1, "at least 1"),
        ("lr", 0 < c.lr < float("inf"), "above 0"),
        ("momentum", 0 <= c.momentum < 1, "at least 0 and below 1"),
        ("weight_decay", 0 <= c.weight_decay < float("inf"), "at least 0"),
        ("lam", 0 <= c.lam < float("inf"), "at least 0"),
        ("eps", 0 <= c.eps < float("inf"), "at least 0"),
        ("glister_refresh", 0 < c.glister_refresh <= 1, "above 0 and at most 1"),
        ("proxy_epochs", c.proxy_epochs is None or c.proxy_epochs >= 1, "at least 1"),
        ("proxy_runs", c.proxy_runs >= 1, "at least 1"),
        (
            "imbalance",
            c.imbalance is None or 0 < c.imbalance <= 1,
            "above 0 and at most 1 (a share)",
        ),
        ("imbalance_classes", 0 < c.imbalance_classes <= 1, "above 0 and at most 1"),
        ("validation_fraction", 0 < c.validation_fraction < 1, "between 0 and 1"),
        ("eval_every", c.eval_every >= 1, "at least 1 epoch"),
        ("image_size", c.image_size >= 1, "at least 1 pixel"),
        ("seed", 0 <= c.seed < 2**32, "from 0 to 2^32 - 1"),
    ]
    for field, fine, wanted in rules:
        if not fine:
            flag = field.replace("_", "-")
            raise UserError(f"--{flag} must be {wanted}, not {getattr(config, field)}")


def to_json(config: Settings) -> dict[str, Any]:
    """The configuration as JSON values."""
    values = dataclasses.asdict(config)
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
