"""What is compared, and on what: fixed before anything is run."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

# What an arm trains on: what is there besides the clean set, the clean set alone, or both.
Source = Literal["rest", "clean", "both"]
# How the training data are spoilt beyond what settings do.
Mixture = Literal["none", "rotated", "sentences"]


class Arm(NamedTuple):
    """A method with its settings, the same everywhere.

    blind: it does not look at the clean set, whose size is then nothing to it.
    """

    name: str
    strategy: str
    settings: Mapping[str, Any] = {}
    source: Source = "rest"
    blind: bool = False


REFERENCE = "adaptive-random"
_TARGET = {"validation_target": True, "lam_scale": "relative"}
MATCHED = Arm("gradmatch on the clean set", "gradmatch", _TARGET)
SHARES = Arm(
    "the same, classes as in the clean set", "gradmatch", _TARGET | {"target_shares": "validation"}
)
UNFILLED = Arm("gradmatch on the clean set, no fill", "gradmatch", _TARGET | {"fill": "none"})
ALONE = Arm("the clean set alone", "full", source="clean")
WITH_RANDOM = Arm("the clean set and fresh random", "clean-and-random", source="both")
ARMS = (
    Arm(REFERENCE, REFERENCE, blind=True),
    Arm("tempered", "tempered", blind=True),
    ALONE,
    WITH_RANDOM,
    MATCHED,
    SHARES,
    UNFILLED,
    Arm("glister", "glister"),
)


class Case(NamedTuple):
    """Training data that are worse than a small clean set drawn from before they were spoilt.

    folder: of the files under --data-dir; "" for what is embedded.
    rows: of the training file, of which the clean set is a part and the rest is spoilt.
    left: the share of the rest that imbalance leaves.
    added: rows of another source.
    settings: of every run: the noise or imbalance, and what a run is.
    sizes: of the clean set; the first is the one that blind arms are run at.
    without: arms that would do what another does.
    seeds: in this order.
    """

    name: str
    dataset: str
    folder: str
    model: str
    rows: int
    fraction: float
    epochs: int
    sizes: tuple[int, ...]
    settings: Mapping[str, Any] = {}
    mixture: Mixture = "none"
    without: tuple[str, ...] = ()
    left: float = 1.0
    added: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)

    def rest(self, size: int) -> float:
        """Training examples besides a clean set of that size."""
        return self.left * (self.rows - size) + self.added

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Those that are run."""
        return tuple(arm for arm in ARMS if arm.name not in self.without)


# Every fifth epoch: what a clean set says of noisy examples is true of the network as it is now.
_EVERY: Mapping[str, Any] = {"select_every": 5}


def _mnist(name: str, sizes: tuple[int, ...], settings: Mapping[str, Any], **rest: Any) -> Case:
    return Case(
        name, "mnist", "mnist", "lenet", 60_000, 0.05, 20, sizes, {**_EVERY, **settings}, **rest
    )


def _trec(name: str, sizes: tuple[int, ...], settings: Mapping[str, Any], **rest: Any) -> Case:
    settings = {**_EVERY, **settings}
    return Case(
        name, "tsv", "text/trec", "embedding-bag", 5452, rest.pop("fraction", 0.1), 60, sizes,
        settings, **rest
    )  # fmt: skip


# In the order of what they tell for their time. Where noise leaves classes their sizes, their
# shares are the same in both, and matching fills its budget.
_ALIKE = (SHARES.name, UNFILLED.name)
IN_ORDER = (
    _trec("trec-noise-0.45", (1000, 300, 100), {"label_noise": 0.45}),
    _trec("trec-sentences", (1000, 300, 100), {}, mixture="sentences", fraction=0.05, added=6920),
    _mnist("mnist-noise-0.45", (1000, 100, 300, 3000), {"label_noise": 0.45}, without=_ALIKE),
    _mnist("mnist-rare", (1000, 100), {"imbalance": 0.02}, left=0.7 + 0.3 * 0.02),
    _mnist("mnist-rotated", (1000, 100), {}, mixture="rotated", without=_ALIKE),
    _mnist("mnist-noise-0.2", (1000, 100), {"label_noise": 0.2}, without=_ALIKE),
)
CASES = {case.name: case for case in IN_ORDER}
QUICK = Case(
    "quick", "digits", "", "logistic", 1438, 0.1, 2, (100, 50), {"label_noise": 0.45},
    without=("tempered", *_ALIKE), seeds=(0,),
)  # fmt: skip
