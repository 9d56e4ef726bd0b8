"""What a run costs on any hardware: examples seen, forward-equivalents, FLOPs.

The convention. An example that is trained on counts three forward passes: one forward, and a
backward pass, which is two products a layer where the forward is one. A selection that reads the
data adds one forward pass of each example that it looks at (`pool`), GLISTER's and matching on the
validation set one of each validation example as well, and GraNd, which wants the gradient of each
example in all parameters, three. A proxy's training is training. Testing is left out, as it is of
the seconds. FLOPs are those passes at two a multiply-add of the network's layers as they are
written in textbooks; additions of biases, activations, pooling and what a selection computes from
the pass (its matching) are left out, and so is whatever an implementation wastes.
"""

from typing import Any, NamedTuple

from gradmatch_jax.strategies.registry import STRATEGIES

TRAINED = 3  # forward passes to an example that is trained on
CONVENTION = (
    "Forward-equivalents: 3 for an example trained on, 1 for one that a selection looks at (3 for "
    "GraNd's); FLOPs: those times the network's forward pass, two a multiply-add, the solver's own "
    "left out."
)

# Multiply-adds of a forward pass of one example, by network and shape of the data.
MULTIPLY_ADDS = {
    # 28² 6·5² + 10² 16·6·5² + 400·120 + 120·84 + 84·10
    ("lenet", "mnist"): 117_600 + 240_000 + 48_000 + 10_080 + 840,
    # 28² 6·3·5² + 10² 16·6·5² + 400·120 + 120·84 + 84·10, of 32² pixels
    ("lenet", "cifar10"): 352_800 + 240_000 + 48_000 + 10_080 + 840,
    # 26² 32·3² + 24² 64·32·3² + 9216·128 + 128·10
    ("mnistnet", "mnist"): 194_688 + 10_616_832 + 1_179_648 + 1_280,
    # 3² 3·64 32² + 4·3² 64² 32² + (3² 64·128 + 3·3² 128² + 64·128) 16² + ... + 512·C
    ("resnet18", "cifar10"): 555_422_720,
    ("resnet18", "cifar100"): 555_468_800,
    ("resnet18", "svhn"): 555_422_720,
    ("resnet18", "imagenet"): 1_814_073_344,
}


class Cost(NamedTuple):
    """Of a run, or the mean of several."""

    examples: float  # trained on, the proxy's included
    forwards: float  # equivalents of a forward pass of one example
    flops: float | None  # None: a network whose layers are not counted here


def cost_of(run: dict[str, Any]) -> Cost:
    """A finished run's, from its record."""
    examples = seen(run)
    forwards = TRAINED * examples + looked_at(run)
    per_example = MULTIPLY_ADDS.get((run["model"], run["dataset"]))
    return Cost(examples, forwards, None if per_example is None else 2.0 * per_example * forwards)


def seen(run: dict[str, Any]) -> float:
    """Examples that SGD has visited; early records do not say, and it follows from their plan."""
    if "examples" in run:
        return run["examples"]
    full, n = run["full_epochs"], run["train_size"]
    return full * n + (run["epochs"] - full) * run["subset_size"]


def looked_at(run: dict[str, Any]) -> float:
    """Forward passes of one example that its selections made."""
    entry, config = STRATEGIES[run["strategy"]], run["config"]
    if not entry.reads or not run.get("num_matched"):
        return 0.0
    n = run["train_size"]
    validation = config.get("validation_fraction") or 0.1
    passes = float(config.get("pool") or 1.0)
    if run["strategy"] == "grand":
        passes *= TRAINED * (config.get("proxy_runs") or 1)
    if run["strategy"] == "glister" or config.get("validation_target"):
        passes += validation / (1 - validation)  # the validation set is that share of the whole
    return n * passes * len(run["num_matched"])
