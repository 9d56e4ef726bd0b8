"""What is judged, and on what: fixed before anything is run."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# The learning rates that each arm chooses from, as multiples of the case's or else the default.
RATES = (0.7, 1.0, 1.4, 2.0)
# It chooses by the validation accuracy of these; the verdict is over all, the same for every arm.
TUNED_ON = (0, 1)
SEEDS = (0, 1, 2, 3, 4)
REFERENCE = "adaptive-random"


class Arm(NamedTuple):
    """A method with its settings, the same on every set."""

    name: str
    strategy: str
    settings: Mapping[str, Any] = {}


ARMS = (
    Arm(REFERENCE, REFERENCE),
    Arm("full-earlystop-fitted", "full-earlystop-fitted"),
    Arm("gradmatch-warm", "gradmatch-warm", {"fill": "random"}),
    Arm("gradmatch-pb-warm", "gradmatch-pb-warm"),
    Arm("gradmatch-fresh, pool 0.1", "gradmatch-fresh", {"pool": 0.1, "fill": "calibrated"}),
    Arm("order-dp", "order-dp"),
    Arm("balanced, by epochs", "balanced", {"balance": "epochs"}),
    Arm("balanced", "balanced", {"balance": "batches"}),
    Arm("tempered", "tempered"),
    Arm("tempered, half uniform", "tempered", {"uniform": 0.5}),
    Arm("tempered, by class", "tempered", {"stratified": True}),
    Arm("tempered, as it fits", "tempered", {"fitted": True}),
)


class Case(NamedTuple):
    """A data set, a network and a budget.

    folder: of its files under --data-dir; "" for what is embedded.
    tuned_as: the case whose choice of learning rates holds here too: this one is run once, frozen.
    named: run only where it is named, for it wants a GPU.
    """

    name: str
    dataset: str
    folder: str
    model: str
    fraction: float
    epochs: int
    settings: Mapping[str, Any] = {}
    tuned_as: str | None = None
    named: bool = False


def _noisy(case: Case) -> Case:
    """The same with a fifth of the training labels wrong."""
    name = f"{case.name}-noise"
    settings = dict(case.settings) | {"label_noise": 0.2}
    return case._replace(name=name, settings=settings, tuned_as=case.name)


_CLEAN = (
    Case("mnist-1", "mnist", "mnist", "lenet", 0.01, 200),
    Case("mnist-5", "mnist", "mnist", "lenet", 0.05, 60),
    Case("mnistnet-1", "mnist", "mnist", "mnistnet", 0.01, 60),
    Case("mnistnet-5", "mnist", "mnist", "mnistnet", 0.05, 30),
    Case("cifar10-5", "cifar10", "cifar10", "lenet", 0.05, 60),
    Case("cifar10-10", "cifar10", "cifar10", "lenet", 0.1, 60),
    Case("trec-10", "tsv", "text/trec", "embedding-bag", 0.1, 60),
)
# ResNet-18 as it is trained on a GPU: larger batches at a rate to match, a fifth of the paper's
# epochs.
_GPU = Case(
    "resnet18-10", "cifar10", "cifar10", "resnet18", 0.1, 60,
    {"batch_size": 128, "lr": 0.05, "bf16": True}, named=True,
)  # fmt: skip
CASES = {case.name: case for clean in (*_CLEAN, _GPU) for case in (clean, _noisy(clean))}
QUICK = Case("quick", "digits", "", "logistic", 0.1, 2)
