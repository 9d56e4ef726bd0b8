"""Orthogonal matching pursuit (paper, Algorithm 2): pick, then weigh, in either of two forms.

    E_lam(S) = min over w   ‖A_S' w - t‖² + lam ‖w‖²      over supports |S| <= k

`gram_form` works on G = A A', `feature_form` on lam I + A_S' A_S; `choose_form` says which costs
less. Both pick the same atoms.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, Count, Number, as_floats
from gradmatch_jax.inputs.values import as_budget, as_number
from gradmatch_jax.solvers import feature_form
from gradmatch_jax.solvers.gram_form import greedy_support
from gradmatch_jax.solvers.least_squares import nonnegative_ridge, ridge
from gradmatch_jax.solvers.options import MatchingOptions, with_changes
from gradmatch_jax.solvers.problem import Form, Matched, Problem, StopReason, first_slots

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
        form: which side of the ridge problem to work on; `FEATURES` needs the problem's atoms and
            lam > 0.
    """
    stops: Any = {"eps": options.eps, "nonnegative": options.nonnegative}
    if form is Form.FEATURES:
        return feature_form.pursue(problem, max_budget, **stops)
    return _match_gram(problem.with_gram(), max_budget, **stops)


def _match_gram(problem: Problem, max_budget: int, *, eps: float, nonnegative: bool) -> Matched:
    """The Gram form. The weights are solved for afresh on the support.

    It costs little and leaves none of the loop's rounding error in them. Atoms whose non-negative
    weight is 0 are not matched: they are dropped.
    """
    support, reasons = greedy_support(problem, max_budget, eps=eps, nonnegative=nonnegative)
    gram, correlations = problem.gram, problem.correlations
    assert gram is not None
    assert correlations is not None
    g = jnp.arange(gram.shape[0])[:, None]
    chosen = support >= 0
    support_gram = gram[g[:, :, None], support[:, :, None], support[:, None, :]]
    system = support_gram, correlations[g, support], chosen, problem.lam
    if not nonnegative:
        return Matched(*first_slots(support, jax.vmap(ridge)(*system), chosen), reasons)
    weights, finished = jax.vmap(nonnegative_ridge)(*system)
    limit = jnp.asarray(StopReason.MOVE_LIMIT, reasons.dtype)
    reasons = jnp.where(finished, reasons, limit)
    return Matched(*first_slots(support, weights, chosen & (weights > 0)), reasons)


def choose_form(options: MatchingOptions, n: int, shape: tuple[int, int], max_budget: int) -> Form:
    """The form that `options.form` asks for, or the cheaper one.

    Args:
        options: their `form`.
        n: atoms of a problem.
        shape: (C, W) of an atom.
        max_budget: picks.

    Raises:
        UserError: the feature form at lam = 0, where it is not defined. (A traced lam is taken to
            be positive.)
    """
    positive = isinstance(options.lam, Tracer) or float(options.lam) > 0
    if options.form == "features" and not positive:
        raise UserError('form="features" needs lam > 0; use form="gram" or "auto" at lam = 0')
    if options.form != "auto":
        return Form.GRAM if options.form == "gram" else Form.FEATURES
    classes, width = shape
    d, k = classes * width, max(max_budget, 1)
    # Numbers touched, a matrix product counted at an eighth of its terms.
    features = k * (n * (classes + width) + n * d / 8 + 8 * d**2 + d**3 / 100) + 30 * width**3
    gram = n**2 * (classes + width) / 8 + k * (n * k + (4 * k**2 if options.nonnegative else 0))
    return Form.FEATURES if positive and features < gram else Form.GRAM


def omp(
    gram: ArrayLike,
    correlations: ArrayLike,
    target_sq_norm: Number,
    budget: Count,
    *,
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
        options: of these, `lam`, absolute as in the paper (lam = 0 is allowed: an atom that is a
            combination of the chosen ones is then never picked); `eps`, below which E_lam stops
            (in float32 E_lam is known to about 1e-7 ‖t‖² in the loop); and `nonnegative`, where
            False picks by |correlation|, which is the listing.
        **changes: single options by name, as in `omp(..., lam=0.1)`.

    Returns:
        Fewer than `budget` atoms where nothing more is to be gained; `reason` says why.
        `objective` is E_lam of the returned weights.

    Raises:
        UserError: a name that is no option.

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
    correlations = as_floats("correlations", correlations, (n,)).astype(gram.dtype)
    target_sq_norm = as_number("target_sq_norm", target_sq_norm)
    budget = as_budget(budget, None, n)
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
