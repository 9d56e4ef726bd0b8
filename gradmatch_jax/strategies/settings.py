"""What strategies take as keywords, as settings with their ranges and defaults.

No JAX here: the command line reads this to print its help.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from gradmatch_jax.inputs.values import BELOW_ONE, NOT_NEGATIVE, SHARE, Range
from gradmatch_jax.solvers.options import Fill, MatchingOptions

AskedFill = Literal["own", Fill]


def fill_of(asked: AskedFill, of_entry: Fill, validation_target: bool) -> Fill:
    """The fill: what was asked for, or the entry's own, "random" where validation data are matched.

    Calibrated weights stay near those of a fair sample of the training set, which is what another
    target is to get away from.

    >>> [fill_of("own", "steady", validation) for validation in (False, True)]
    ['steady', 'random']
    """
    if asked != "own":
        return asked
    return "random" if validation_target else of_entry


@dataclass(frozen=True)
class StrategySettings(MatchingOptions):
    """What strategies take as keywords of the same names: a new one is a field here and there."""

    # A matching problem has no own: `fill_of` says what it stands for.
    fill: AskedFill = "own"  # pyright: ignore[reportIncompatibleVariableOverride]
    """What to do where matching stops short of the budget: top up at random, or leave it short
    (none). calibrated tops up at random and then solves for all weights once more, those of a full
    match too, around what each example stands for; steady does so where the match's own weights
    are worth less than half as many equal ones. own: as the strategy has it, which is steady for
    gradmatch that matches the training set, and random otherwise."""
    validation_target: bool = False
    """gradmatch: match the validation set's gradient (the paper's isValid), not the training
    set's."""
    target_shares: Literal["train", "validation"] = "train"
    """gradmatch, gradmatch-per-class: with --validation-target, a class's share of the target is
    that of the training set, or of the validation set."""
    greedy: Literal["taylor", "naive", "stochastic"] = "taylor"
    """glister: take many picks between refreshes of the validation gradient, refresh it after each
    pick, or pick each from a random sample."""
    refresh: Annotated[float, SHARE] = 0.03
    """glister: picks between refreshes, as a share of the budget (taylor)."""
    ratio: Annotated[float, BELOW_ONE] = 0.5
    """infobatch: the share of the examples below the mean loss that an epoch drops."""
    temperature: Annotated[float, NOT_NEGATIVE] = 1.0
    """tempered: probabilities go as the last-seen residual norm to this power; 0 is uniform."""
    exponent: Annotated[float, Range(0, 1)] = 0.5
    """tempered: weights go as the probability to minus this; 1 is unbiased, 0 none."""
    floor: Annotated[float, Range(0, open_low=True)] = 0.02
    """tempered: of the residual norms, so that what is learnt comes back."""
    uniform: Annotated[float, Range(0, 1)] = 0.0
    """tempered: share of the draws that do not look at the norms."""
    ageing: Annotated[float, Range(0, 1)] = 0.0
    """tempered: how far an epoch moves the norms of those it left out towards the mean."""
    stratified: bool = False
    """tempered: each class has the share of the draws that it has of the data."""
    fitted: bool = False
    """tempered: the temperature grows from 0 with the share of examples that training fits."""
    balance: Literal["epochs", "batches"] = "batches"
    """balanced: deal nearly the gradient of all the data to each epoch alone, or to each mini-batch
    of it as well."""
    spread: Annotated[float, Range(1)] = 2.0
    """order-dp: size of the random draw that the largest losses are taken of, over the budget."""
