"""What a solver is given and what it answers: the problem, why it stopped, which form solved it."""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.atoms import Atoms
from gradmatch_jax.solvers.options import NAMES, MatchingOptions, unchecked

# As a pytree its lam is data, so that another lam compiles nothing; the rest is static.
_STATIC = tuple(name for name in NAMES if name != "lam")
jax.tree_util.register_pytree_node(
    MatchingOptions,
    lambda options: ((options.lam,), tuple(getattr(options, name) for name in _STATIC)),
    lambda static, lam: unchecked({"lam": lam[0], **dict(zip(_STATIC, static, strict=True))}),
)


class StopReason(IntEnum):
    """Why a pursuit stopped."""

    BUDGET = 0
    EPS = 1
    NOTHING_LEFT = 2
    MOVE_LIMIT = 3

    @property
    def describe(self) -> str:
        """The reason in words."""
        return (
            "the budget is met",
            "the objective is below eps",
            "nothing left to gain",
            "the limit of moves is reached",
        )[self]


# Below this share of the mean squared norm float32 does not tell the atoms' systems from singular
# ones, in the coordinates they come in, nor a late correlation from the rounding of the first.
LEAST_LAM = 1e-2
# Below this one, while the residual is not yet next to nothing, w = a . r / lam is rounding: atoms
# leave for no reason (five of ten digits' classes had one more to pick, at 1e-5 and a target of
# other examples: up to 1.7 times the objective). The Gram form keeps the weights themselves.
LEAST_LAM_OF_SCORES = 1e-4
RUNNING = -1  # in a solver's loop: not stopped yet


class Form(IntEnum):
    """Which system of the ridge problem a pursuit worked on."""

    GRAM = 0
    FEATURES = 1
    SUPPORT = 2


class Problem(NamedTuple):
    """A batch of g matching problems, by their atoms or by their Gram matrices.

        minimise over S, w   ‖A_S' w - t‖² + lam ‖w‖²,   |S| <= budget

    With `counts` an atom takes so many of the budget, which the last one may go beyond. Either
    `atoms` and `target` are given, or `gram` and `correlations`.
    """

    target_sq_norm: Float[Array, "g"]
    free: Bool[Array, "g n"]  # atoms that may be picked
    budgets: Int[Array, "g"]
    lam: Float[Array, "g"]
    atoms: Atoms | None = None
    target: Float[Array, "g ..."] | None = None
    gram: Float[Array, "g n n"] | None = None
    correlations: Float[Array, "g n"] | None = None
    counts: Int[Array, "g n"] | None = None  # of the budget; None: 1 each

    def spent(self, positions: Int[Array, "g k"]) -> Int[Array, "g"]:
        """What the atoms at `positions` take of the budget; none where it is -1."""
        taken = (positions >= 0).astype(self.budgets.dtype)
        if self.counts is not None:
            taken = taken * jnp.take_along_axis(self.counts, jnp.maximum(positions, 0), axis=1)
        return jnp.sum(taken, axis=1, dtype=self.budgets.dtype)

    def picks(self) -> Int[Array, "g"]:
        """How many atoms a budget has room for, at most."""
        if self.counts is None:
            return self.budgets
        least = jnp.min(jnp.where(self.free, self.counts, jnp.iinfo(self.counts.dtype).max), axis=1)
        return -(-self.budgets // jnp.maximum(least, 1))

    def correlated(self) -> Float[Array, "g n"]:
        """c_i = <a_i, t>, of atoms that may not be picked 0."""
        found = self.correlations
        if found is None:
            assert self.atoms is not None
            assert self.target is not None
            found = self.atoms.products(self.target)
        return jnp.where(self.free, found, 0.0)

    def squares(self) -> Float[Array, "g n"]:
        """‖a_i‖²."""
        if self.gram is not None:
            return jnp.diagonal(self.gram, axis1=1, axis2=2)
        assert self.atoms is not None
        return self.atoms.squares()

    def system(self, support: Int[Array, "g k"]) -> Float[Array, "g k k"]:
        """<a_i, a_j> of the support; in the rows and columns of -1 anything."""
        if self.gram is not None:
            g = jnp.arange(support.shape[0])[:, None, None]
            return self.gram[g, support[:, :, None], support[:, None, :]]
        assert self.atoms is not None
        return jax.vmap(Atoms.take)(self.atoms, support).gram()


class Matched(NamedTuple):
    """The answer to a batch of problems: matched atoms first, -1 and 0 behind."""

    positions: Int[Array, "g k"]
    weights: Float[Array, "g k"]
    reasons: Int[Array, "g"]  # `StopReason`


def first_slots(
    positions: Int[Array, "g k"],
    weights: Float[Array, "g k"],
    kept: Bool[Array, "g k"],
) -> tuple[Int[Array, "g k"], Float[Array, "g k"]]:
    """The kept slots moved to the front, their order kept; -1 and 0 behind."""
    g, k = positions.shape
    rows = jnp.arange(g)[:, None]
    place = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, k)  # the rest is dropped
    return (
        jnp.full_like(positions, -1).at[rows, place].set(positions, mode="drop"),
        jnp.zeros_like(weights).at[rows, place].set(weights, mode="drop"),
    )
