"""The knobs of a matching problem, from the command line to the solver.

No JAX here: the command line reads this to print its help. A new knob is a field here and its use
in the solver; nothing between has to know it.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from gradmatch_jax.settings import Range

LamScale = Literal["absolute", "relative"]
Fill = Literal["random", "none"]


@dataclass(frozen=True)
class MatchingOptions:
    """How a matching problem is posed and solved."""

    lam: Annotated[float, Range(0)] = 0.5
    """Ridge penalty of the matching problem."""
    lam_scale: LamScale = "absolute"
    """absolute as in the paper, or relative to the mean squared gradient norm."""
    eps: Annotated[float, Range(0)] = 1e-10
    """Stop matching once the objective is below this."""
    nonnegative: bool = True
    """Weights >= 0; --no-nonnegative is the paper's listing."""
    fill: Fill = "random"
    """What to do where matching stops short of the budget."""
