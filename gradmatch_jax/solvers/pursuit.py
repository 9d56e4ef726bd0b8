"""Orthogonal matching pursuit (paper, Algorithm 2): pick, then weigh, in one of three forms.

    E_lam(S) = min over w   ‖A_S' w - t‖² + lam ‖w‖²      over supports |S| <= k

`gram_form` works on columns of G = A A', `feature_form` on lam I + A_S' A_S, `support_form` on
G_SS + lam I; `choose_form` says which costs least. All pick the same atoms.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Number, as_floats
from gradmatch_jax.inputs.values import as_budget, as_number, is_traced
from gradmatch_jax.solvers.feature_form import FEATURES
from gradmatch_jax.solvers.gram_columns import foresees, space_of
from gradmatch_jax.solvers.gram_form import greedy_support
from gradmatch_jax.solvers.least_squares import nonnegative_ridge, ridge
from gradmatch_jax.solvers.options import MatchingOptions, with_changes
from gradmatch_jax.solvers.problem import (
    LEAST_LAM,
    LEAST_LAM_OF_SCORES,
    Form,
    Matched,
    Problem,
    StopReason,
    first_slots,
)
from gradmatch_jax.solvers.residual_loop import pursue
from gradmatch_jax.solvers.support_form import SUPPORT
from gradmatch_jax.solvers.updated import REFRESH

DEFAULTS = MatchingOptions()


class OMPResult(NamedTuple):
    """Atoms chosen by OMP."""

    indices: Int[Array, "k"]  # padded with -1
    weights: Float[Array, "k"]  # padded with 0
    size: Int[Array, ""]  # how many entries are real
    objective: Float[Array, ""]  # E_lam of `indices` and `weights`
    reason: Int[Array, ""]  # `StopReason`: why no more atoms were chosen


def match(problem: Problem, max_budget: int, options: MatchingOptions, form: Form) -> Matched:
    """OMP on a batch of problems, all advanced in one loop.

    Args:
        problem: g problems; their `lam` counts, not that of `options`.
        max_budget: slots of the answer, at least the largest of the budgets.
        options: eps and nonnegative are read.
        form: which system to work on; all but `GRAM` need the problem's atoms and lam > 0.
    """
    stops: Any = {"eps": options.eps, "nonnegative": options.nonnegative}
    if form is Form.GRAM:
        found = greedy_support(problem, max_budget, **stops)
        weighed = partial(_weighed, problem, found.positions, found.reasons, options.nonnegative)
        space = space_of(problem)
        if space is None:
            return weighed()
        # Where lam is small float32 does not hold the support's own system: the weights that were
        # corrected in the space of the atoms are better than its solution.
        as_found = partial(_without_zeros, problem, found, options.nonnegative)
        return lax.cond(space.needed, as_found, weighed)
    assert problem.atoms is not None
    side = FEATURES if form is Form.FEATURES else SUPPORT
    found = Matched(*pursue(problem, max_budget, side, **stops))
    weighed = partial(_weighed, problem, found.positions, found.reasons, options.nonnegative)
    d = math.prod(problem.atoms.shape)
    if max_budget <= d:
        return weighed()
    # Of more atoms than they have numbers the residual is next to nothing, and so is what their
    # scores lack; their own system is all but singular. There are more slots than budgets ask for.
    as_scored = partial(_without_zeros, problem, found, options.nonnegative)
    return lax.cond(jnp.max(problem.budgets) <= d, weighed, as_scored)


def _weighed(
    problem: Problem, support: Int[Array, "g k"], reasons: Int[Array, "g"], nonnegative: bool
) -> Matched:
    """The weights, solved for afresh on the support.

    It costs little and leaves none of the loop's rounding error in them.
    """
    chosen = support >= 0
    correlations = jnp.take_along_axis(problem.correlated(), jnp.maximum(support, 0), axis=1)
    system = problem.system(support), correlations, chosen, problem.lam
    if nonnegative:
        weights, finished = jax.vmap(nonnegative_ridge)(*system)
        limit = jnp.asarray(StopReason.MOVE_LIMIT, reasons.dtype)
        reasons = jnp.where(finished, reasons, limit)
    else:
        weights = jax.vmap(ridge)(*system)
    return _without_zeros(problem, Matched(support, weights, reasons), nonnegative)


def _without_zeros(problem: Problem, found: Matched, nonnegative: bool) -> Matched:
    """Atoms whose non-negative weight is 0 are not matched: they are dropped.

    A budget is not met by them: nothing was left that gains.
    """
    support, weights, reasons = found
    kept = support >= 0
    kept = kept & (weights > 0) if nonnegative else kept
    spent = problem.spent(jnp.where(kept, support, -1))
    short = (reasons == StopReason.BUDGET) & (spent < problem.budgets)
    reasons = jnp.where(short, jnp.asarray(StopReason.NOTHING_LEFT, reasons.dtype), reasons)
    return Matched(*first_slots(support, weights, kept), reasons)


def choose_form(
    options: MatchingOptions,
    n: int,
    shape: tuple[int, int],
    max_budget: int,
    relative_lam: float | None = None,
) -> Form:
    """The form that `options.form` asks for, or the cheapest.

    Args:
        options: their `form` and `lam`.
        n: atoms of a problem.
        shape: (C, W) of an atom.
        max_budget: picks.
        relative_lam: the least lam over the mean squared norm of a problem; None where it is not
            known, which may be any (float32 needs `LEAST_LAM` for the support form, and
            `LEAST_LAM_OF_SCORES` for the features').

    Returns:
        Never the features' or the support's for auto at lam = 0, where they are not defined. (A
        traced lam is taken to be positive.)
    """
    if options.form != "auto":
        return Form[options.form.upper()]
    if not is_traced(options.lam) and float(options.lam) == 0:
        return Form.GRAM
    small_lam = relative_lam is None or relative_lam < LEAST_LAM
    costs = _costs(n, shape, max(max_budget, 1), small_lam=small_lam)
    if small_lam:
        del costs[Form.SUPPORT]
    # More picks than an atom has numbers depend on each other: G loses what tells them apart, and
    # atoms leave by the hundred (30 % of CIFAR-10, per gradient: twice the time, 14,600 of 15,000
    # matched, to an error of 0.03 for 0.00004).
    if max_budget > shape[0] * shape[1]:
        del costs[Form.GRAM]
    elif relative_lam is None or relative_lam < LEAST_LAM_OF_SCORES:
        return Form.GRAM
    return min(costs, key=lambda form: costs[form])


def _costs(n: int, shape: tuple[int, int], k: int, *, small_lam: bool) -> dict[Form, float]:
    """Seconds of one problem, about, on a core that moves 10 GB/s and does 20 GFLOP/s.

    small_lam: the loop on residuals goes into the atoms' eigenbasis first.
    """
    classes, width = shape
    d = classes * width
    # A product with the few rows that a target of several classes has is a slow one.
    score = (
        1e-8 * n + 2.7e-10 * n * (classes + width) + (4e-11 if classes == 1 else 1.6e-10) * n * d
    )
    turn = 4e-10 * n * (classes**2 + width**2) + 1e-9 * width**3 if small_lam else 0.0

    def system(size: int) -> float:  # its products and owed updates, and a fresh inverse
        return 8e-10 * size**2 + 1e-10 * size**3 / REFRESH

    # The Gram form makes the rows of G that it needs and reads its columns, once for some moves,
    # oftener at first; where lam is small its correlations are made anew now and then.
    refill = 4.7e-8 * n + 1.1e-9 * n * (classes + width) + 5.3e-10 * k * (n + k)
    refills = 8 + k / 12
    corrections = k / 32 * (1e-8 * n + 2e-10 * n * d) if small_lam else 0.0
    if foresees(n, classes + width, k):
        refills, refill = 4 + k / 10, refill + 9e-4 + 7e-7 * k
    # Either has kernels enough to take 50 microseconds however few the atoms are.
    gram = (
        refills * refill + corrections + 2.3e-8 * k * (n + k) + 5e-5 * (refills + k) + 2e-11 * k**3
    )
    return {
        Form.FEATURES: turn + k * (score + system(d)),
        Form.SUPPORT: turn + k * (score + system(k) + 1.5e-9 * k * (classes + width)),
        Form.GRAM: gram,
    }


def omp(
    gram: ArrayLike,
    correlations: ArrayLike,
    target_sq_norm: Number,
    budget: Count | None = None,
    *,
    fraction: Number | None = None,
    options: MatchingOptions = DEFAULTS,
    **changes: Any,
) -> OMPResult:
    """Orthogonal matching pursuit on one Gram problem (paper, Algorithm 2).

    Works under `jit` (budget, eps and nonnegative static) and in any float dtype; for many problems
    use `match`, which advances them in one loop, rather than `vmap`.

    Args:
        gram: G = A A' of the atoms.
        correlations: c = A t.
        target_sq_norm: ‖t‖².
        budget: how many atoms at most, exactly k (the listing's `|X| <= k` would take k + 1).
        fraction: the budget as a share of n, in its place.
        options: of these, `lam`, absolute as in the paper (lam = 0 is allowed: an atom that is a
            combination of the chosen ones is then never picked); `eps`, below which E_lam stops
            (in float32 E_lam is known to about 1e-7 ‖t‖² in the loop); and `nonnegative`, where
            False picks by |correlation|, which is the listing.
        **changes: single options by name, as in `omp(..., lam=0.1)`.

    Returns:
        Fewer than `budget` atoms where nothing more is to be gained; `reason` says why.
        `objective` is E_lam of the returned weights.

    Raises:
        UserError: a name that is no option; both or neither of budget and fraction; a gram that
            is not square, or has a negative diagonal.

    Example:
        >>> import jax.numpy as jnp
        >>> atoms, target = jnp.eye(3), jnp.array([3.0, 2.0, 1.0])
        >>> omp(atoms @ atoms.T, atoms @ target, 14.0, 2, lam=0.0).indices.tolist()
        [0, 1]
    """
    options = with_changes(options, changes)
    gram = as_floats("gram", gram, (None, None))
    n = gram.shape[0]
    if gram.shape != (n, n):
        raise UserError(f"gram must be a square matrix, not of shape {gram.shape}")
    if not is_traced(gram) and bool(jnp.any(jnp.diagonal(gram) < 0)):
        raise UserError("gram has a negative diagonal: it must be A A' of atoms in rows")
    correlations = as_floats("correlations", correlations, (n,), gram.dtype)
    target_sq_norm = as_number("target_sq_norm", target_sq_norm)
    budget = as_budget(budget, fraction, n)
    return _omp(gram, correlations, target_sq_norm, budget, options)


@partial(jax.jit, static_argnames=("budget",))
def _omp(gram, correlations, target_sq_norm, budget: int, options: MatchingOptions) -> OMPResult:
    n = gram.shape[0]
    target = jnp.asarray(target_sq_norm, gram.dtype)
    lam = jnp.asarray(options.lam, gram.dtype)
    k = min(budget, n)
    if k == 0:
        empty = jnp.full(budget, -1, jnp.int32), jnp.zeros(budget, gram.dtype)
        none = jnp.zeros((), jnp.int32)
        return OMPResult(*empty, none, target, jnp.asarray(StopReason.BUDGET, jnp.int32))
    problem = Problem(
        target[None], jnp.ones((1, n), bool), jnp.full(1, k, jnp.int32), lam[None],
        gram=gram[None], correlations=correlations[None],
    )  # fmt: skip
    positions, weights, reasons = match(problem, k, options, Form.GRAM)
    s, w = positions[0], weights[0]
    fitted = jnp.matmul(gram[s[:, None], s[None, :]], w, precision=lax.Precision.HIGHEST)
    gained = 2 * correlations[s] - fitted - lam * w
    objective = target - jnp.dot(w, gained, precision=lax.Precision.HIGHEST)
    indices = jnp.pad(s, (0, budget - k), constant_values=-1)
    size = jnp.sum(s >= 0, dtype=jnp.int32)
    return OMPResult(indices, jnp.pad(w, (0, budget - k)), size, objective, reasons[0])
