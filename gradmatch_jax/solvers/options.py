"""The knobs of a matching problem, from the command line to the solver.

No JAX here: the command line reads this to print its help. A new knob is a field here and its use
in the solver; nothing between has to know it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.inputs.values import NOT_NEGATIVE, is_traced, short
from gradmatch_jax.settings import fitted

LamScale = Literal["absolute", "relative"]
Fill = Literal["random", "calibrated", "steady", "none"]
FormChoice = Literal["auto", "gram", "features", "support"]


@dataclass(frozen=True)
class MatchingOptions:
    """How a matching problem is posed and solved."""

    lam: Annotated[float, NOT_NEGATIVE] = 0.5
    """Ridge penalty of the matching problem."""
    lam_scale: LamScale = "absolute"
    """absolute as in the paper, or relative to the mean squared gradient norm."""
    eps: Annotated[float, NOT_NEGATIVE] = 1e-10
    """Stop matching once the objective is below this."""
    nonnegative: bool = True
    """Weights >= 0; --no-nonnegative is the paper's listing."""
    fill: Fill = "random"
    """What to do where matching stops short of the budget: top up at random, or leave it short
    (none). calibrated tops up at random and then solves for all weights once more, those of a full
    match too, around what each example stands for; steady does so where the match's own weights
    are worth less than half as many equal ones."""
    form: FormChoice = "auto"
    """The system that matching works on: the Gram matrix of all atoms, the matrix of their
    features, the support's own, or whichever costs least of those that float32 carries. By hand:
    support from a lam of a hundredth of the mean squared gradient norm on, features from 1e-4."""


TRACED = frozenset({"lam"})  # what may be an array inside jit
NAMES = tuple(field.name for field in dataclasses.fields(MatchingOptions))


def matching_options(config: MatchingOptions) -> MatchingOptions:
    """The matching options alone, of a configuration that has more fields.

    >>> matching_options(MatchingOptions(lam=0.1)).lam
    0.1
    """
    return unchecked({name: getattr(config, name) for name in NAMES})


def unchecked(values: Mapping[str, Any]) -> MatchingOptions:
    """Options of these values as they are: inside jit lam is traced, and no float."""
    options = object.__new__(MatchingOptions)
    for name in NAMES:
        object.__setattr__(options, name, values[name])
    return options


def with_form(options: MatchingOptions, form: FormChoice) -> MatchingOptions:
    """The same, lam traced or not, in another form."""
    return unchecked({name: getattr(options, name) for name in NAMES} | {"form": form})


def with_changes(options: MatchingOptions, changes: Mapping[str, Any]) -> MatchingOptions:
    """`options` with some fields given by name, every choice checked.

    Raises:
        UserError: a name that is no option, a value that cannot be, or a contradiction.

    Example:
        >>> with_changes(MatchingOptions(), {"lam": 0.1, "fill": "none"}).fill
        'none'
    """
    if not isinstance(options, MatchingOptions):
        raise UserError(f"options must be MatchingOptions(..), not {short(options)}")
    for name in changes:
        if name not in NAMES:
            raise no_such("option", name, NAMES)
    options = unchecked({name: getattr(options, name) for name in NAMES} | dict(changes))
    options = unchecked(fitted(options, say=str, traced=TRACED))
    refuse_contradictions(options)
    return options


def refuse_contradictions(options: MatchingOptions) -> None:
    """Fields that are sound alone and not together.

    Raises:
        UserError: the features' or the support's form at lam = 0, where they are not defined.
    """
    if options.form in ("features", "support") and not is_traced(options.lam) and options.lam == 0:
        raise UserError(f"form {options.form} needs lam > 0; use gram or auto at lam 0")
