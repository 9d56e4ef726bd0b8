"""A batch of groups' matching problems: posed, solved, weighed anew; and all answers joined."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax import gradients as gr
from gradmatch_jax.inputs.arrays import widened
from gradmatch_jax.selection.ranking import calibrated, fill_slots
from gradmatch_jax.selection.result import Selection, compact, count_stops, relative_error
from gradmatch_jax.solvers.atoms import Atoms, factors
from gradmatch_jax.solvers.options import MatchingOptions
from gradmatch_jax.solvers.problem import Form, Problem
from gradmatch_jax.solvers.pursuit import match


class Weighed(NamedTuple):
    """Weights of a batch of groups' examples."""

    weights: Float[Array, "g k"]
    squares: Float[Array, ""]  # ‖residual‖² of all


class Solved(NamedTuple):
    """A batch of groups' answers."""

    positions: Int[Array, "g k"]  # in the group
    weighed: Weighed
    matched: Int[Array, ""]
    target_squares: Float[Array, ""]
    reasons: Int[Array, "g"]
    posed: Bool[Array, "g"]  # a problem with a budget


def solve(
    members: Int[Array, "g m"],
    each: tuple[Array, Array | None],
    rows: tuple[gr.Atoms, Array],
    options: MatchingOptions,
    *,
    slots: int,
    form: Form,
) -> Solved:
    """A batch of groups: budgets and targets `each`, their members' gradients and scores `rows`."""
    (budgets, target), (gradients, scores) = each, rows
    atoms, valid, target, lam = _posed(members, target, gradients, options)
    target_sq_norm = jnp.sum(target**2, axis=(1, 2))
    problem = Problem(target_sq_norm, valid, budgets, lam, atoms=atoms, target=target)
    positions, weights, reasons = match(problem, slots, options, form)
    matched = jnp.sum(positions >= 0, dtype=jnp.int32)
    if options.fill != "none":
        member_scores = jnp.where(valid, scores, -1.0)
        positions, weights = fill_slots(positions, weights, valid, budgets, member_scores)
    weighed = _missed(_taken(atoms, positions), weights, target)
    return Solved(positions, weighed, matched, jnp.sum(target_sq_norm), reasons, budgets > 0)


def weigh(
    members: Int[Array, "g m"],
    each: tuple[Array, tuple[Array | None, Array]],
    gradients: gr.Atoms,
    options: MatchingOptions,
) -> Weighed:
    """Calibrated weights of what was chosen: of `each` group the budget, and target and positions.

    Apart from `solve`, for most selections of `fill="steady"` keep the match's own.
    """
    _, (target, positions) = each
    atoms, valid, target, lam = _posed(members, target, gradients, options)
    chosen = _taken(atoms, positions)
    weights = calibrated(chosen, positions >= 0, valid, target, lam, options.nonnegative)
    return _missed(chosen, weights, target)


def _posed(
    members: Int[Array, "g m"], target: Array | None, gradients: gr.Atoms, options: MatchingOptions
) -> tuple[Atoms, Bool[Array, "g m"], Float[Array, "g C W"], Float[Array, "g"]]:
    """Atoms, which of them are any, targets and lam."""
    # Widened first: what factors add to rows in bfloat16 would have XLA widen all before the loop.
    atoms, valid = factors(widened(gradients)), members >= 0
    dtype = atoms.left.dtype
    if target is None:
        target = atoms.weighted_sum(valid.astype(dtype))
    lam = jnp.broadcast_to(jnp.asarray(options.lam, dtype), members.shape[:1])
    if options.lam_scale == "relative":
        squares = jnp.where(valid, atoms.squares(), 0.0)
        count = jnp.maximum(jnp.sum(valid, axis=1), 1).astype(dtype)
        lam = lam * jnp.sum(squares, axis=1) / count
    return atoms, valid, target.reshape(-1, *atoms.shape), lam


def _taken(atoms: Atoms, positions: Int[Array, "g k"]) -> Atoms:
    return jax.vmap(type(atoms).take)(atoms, positions)


def _missed(chosen: Atoms, weights: Float[Array, "g k"], target: Float[Array, "g C W"]) -> Weighed:
    return Weighed(weights, jnp.sum((chosen.weighted_sum(weights) - target) ** 2))


@partial(jax.jit, static_argnames=("room", "form"))
def joined(
    solved: Solved, weighed: Weighed, members: Int[Array, "g m"], room: int, form: Form
) -> Selection:
    """All groups' answers in one, by these weights of theirs."""
    g = len(members)
    positions, group = by_group(solved.positions, g), jnp.arange(g)[:, None]
    indices = jnp.where(positions >= 0, members[group, positions], -1)
    indices, weights = compact(indices, by_group(weighed.weights, g), room)
    return Selection(
        indices,
        weights,
        jnp.sum(indices >= 0, dtype=jnp.int32),
        jnp.sum(solved.matched, dtype=jnp.int32),
        relative_error(weighed.squares, solved.target_squares),
        count_stops(solved.reasons.reshape(-1), solved.posed.reshape(-1)),
        jnp.asarray(form, jnp.int32),
    )


def by_group(stacked: Any, g: int) -> Any:
    """A row a group: without the rounds they were solved in, and the empty ones of the last."""
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1])[:g], stacked)
