"""Groups of gradients -> matching problems -> weighted examples: what is below `select_subset`."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.inputs.arrays import widened, working_dtype
from gradmatch_jax.selection.groups import (
    Groups,
    bucket,
    map_groups,
    room_for,
    slots_for,
)
from gradmatch_jax.selection.padding import are_few, filled_up, with_classes, with_rows
from gradmatch_jax.selection.ranking import calibrated, fill_slots, steady
from gradmatch_jax.selection.result import (
    Selection,
    compact,
    count_stops,
    empty_selection,
    relative_error,
    trim,
)
from gradmatch_jax.selection.rounds import in_rounds, map_rounds
from gradmatch_jax.selection.spread import mesh_of, split_rows, to_all, up_to, whole
from gradmatch_jax.solvers.atoms import factors, shape_of
from gradmatch_jax.solvers.options import MatchingOptions, with_form
from gradmatch_jax.solvers.problem import Form, Problem
from gradmatch_jax.solvers.pursuit import choose_form, match


def match_groups(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    key: PRNGKeyArray,
    budget: int,
    own_column: bool,
    options: MatchingOptions,
) -> Selection:
    """One matching problem a group, all by the form that costs least; `budget` entries come back.

    Compiled for padded sizes: another budget or class size, and of few examples another number of
    them or of classes, in the same bucket compiles no solver. (Exact atoms of another number of
    classes have another length, which only the Gram form can fill up for nothing.)
    """
    n = jax.tree.leaves(gradients)[0].shape[0]
    if groups.max_budget == 0 or n == 0:
        return empty_selection(budget)
    mesh = mesh_of(gradients)
    real, most = groups.members.shape[0], groups.max_budget
    g, m = real, bucket(groups.members.shape[1])
    few = are_few(gradients, groups)
    if few:
        gradients, groups = filled_up(gradients, groups, mesh)
        g, m = groups.members.shape
    if mesh is not None and g == 1:
        m = up_to(m, mesh)  # the atoms themselves are split
    slots = slots_for(most, m)
    room = room_for(budget, g * slots, n)
    groups = groups.padded(g, m)
    relative = _relative_lam(gradients, groups, n, options) if options.form == "auto" else None
    classes, width = shape_of(gradients)
    d = width if own_column else classes * width
    shape = (1, width) if own_column else (classes, width)
    form = choose_form(options, m, shape, slots if most > d else min(slots, d), relative)
    # Other forms have a system of all numbers; more picks are weighed by what an atom really has.
    if few and not own_column and form is Form.GRAM and slots <= d:
        gradients, target = with_classes(gradients, target)
    options = with_form(options, "auto")  # chosen: who asked for it compiles nothing of his own
    if own_column:
        assert isinstance(gradients, LastLayerGradients)
        gradients = gradients._replace(residuals=_own_column(gradients, groups.group_of))
    problems = gradients, groups, to_all(with_rows(target, g - real), mesh), key, options
    sizes: Any = {"slots": slots, "room": room, "form": form}
    if in_rounds(mesh, *problems):
        return trim(_match_in_rounds(*problems, **sizes), budget)
    return trim(_match_groups(*problems, mesh=mesh, **sizes), budget)


def _relative_lam(
    gradients: gr.Atoms, groups: Groups, n: int, options: MatchingOptions
) -> float | None:
    """The least lam of the groups over their mean squared gradient norm; None inside jit.

    n: examples, of which there may be fewer than rows.
    """
    leaves = jax.tree.leaves((gradients, groups, options.lam))
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return None
    if options.lam_scale == "relative":
        return float(options.lam)
    largest = float(_largest_mean_square(gradients, groups.group_of, n, groups.members.shape[0]))
    return float(options.lam) / largest if largest > 0 else None


@jax.jit
def _own_column(gradients: LastLayerGradients, group_of: Int[Array, "n"]) -> Array:
    """Apart from the solver, which so fits any number of classes. No copy of the features."""
    return gr.per_gradient(gradients, group_of).residuals


@partial(jax.jit, static_argnames=("g",))
def _largest_mean_square(gradients: gr.Atoms, group_of: Int[Array, "n"], n: Any, g: int) -> Array:
    squares = widened(factors(gradients)).squares()
    real = (jnp.arange(len(squares)) < n).astype(squares.dtype)
    totals, counts = (jax.ops.segment_sum(x, group_of, g) for x in (squares, real))
    return jnp.max(totals / jnp.maximum(counts, 1))


def groups_at_once(g: int, m: int, shape: tuple[int, int], slots: int, form: Form) -> int:
    """How many problems share one loop: bounded by the caches of a CPU, by an accelerator's memory.

    A GPU's greedy loop is bound by launch latency, so there all problems advance together; on a
    CPU it is bound by memory traffic once the buffers leave the last-level cache.
    """
    d = shape[0] * shape[1]
    cpu = jax.default_backend() == "cpu"
    if form is not Form.GRAM:
        # On a CPU one by one: a problem that needs a fresh inverse would make all others wait.
        side = d if form is Form.FEATURES else slots
        return 1 if cpu else max(1, min(g, 2**32 // (4 * (m * sum(shape) + 3 * side * side))))
    # There too a problem that needs other columns of G makes the others wait, where they are long.
    return max(1, min(g, 2**18 // (m * slots) if cpu else 2**30 // (2 * slots * (m + slots))))


@partial(jax.jit, static_argnames=("slots", "room", "form", "mesh"))
def _match_groups(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    key: PRNGKeyArray,
    options: MatchingOptions,
    *,
    slots: int,
    room: int,
    form: Form,
    mesh: Mesh | None,
) -> Selection:
    """Solve every group's problem, a few groups at a time, and join the answers.

    On several devices the groups are spread over them; the atoms of a single one are split by rows.
    """
    gradients = split_rows(gradients, mesh)
    g, m = groups.members.shape
    rows = gradients, _fill_scores(gradients, key)
    solve = partial(_solve, options=options, slots=slots, form=form)
    if g == 1 and mesh is not None:
        rows = jax.tree.map(lambda x: x[groups.members], rows)
        rows = split_rows(rows, mesh, axis=1)
        solved = solve(groups.members, (groups.budgets, target), rows)
    else:
        at_once = groups_at_once(g, m, shape_of(gradients), slots, form)
        solved = map_groups(solve, groups, at_once, rows, target, mesh)
    return _joined(whole(solved, mesh), room, form)


def _match_in_rounds(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    key: PRNGKeyArray,
    options: MatchingOptions,
    *,
    slots: int,
    room: int,
    form: Form,
) -> Selection:
    """The same in calls of one program, on the cores of a CPU."""
    (g, m), shape = groups.members.shape, shape_of(gradients)
    at_once = groups_at_once(g, m, shape, slots, form)
    system = 3 * (shape[0] * shape[1]) ** 2 if form is Form.FEATURES else 2 * slots * (m + slots)
    solved = map_rounds(
        _solve_round, groups, at_once, at_once * (2 * m * sum(shape) + system),
        (gradients, _fill_scores(gradients, key)), target, (options,), slots=slots, form=form,
    )  # fmt: skip
    return _joined(solved, room, form)


@jax.jit
def _fill_scores(gradients: gr.Atoms, key: PRNGKeyArray) -> Float[Array, "n"]:
    """By which examples are chosen that are not matched."""
    rows = jax.tree.leaves(gradients)[0]
    return jax.random.uniform(key, (rows.shape[0],), working_dtype(rows.dtype))


@partial(jax.jit, static_argnames=("room", "form"))
def _joined(solved: "_Solved", room: int, form: Form) -> Selection:
    """All groups' answers in one."""
    weights, squares = solved.weights, solved.squares
    if solved.calibrated is not None:
        weights, squares = steady(weights, squares, solved.calibrated)
    indices, weights = compact(solved.indices, weights, room)
    return Selection(
        indices,
        weights,
        jnp.sum(indices >= 0, dtype=jnp.int32),
        jnp.sum(solved.matched, dtype=jnp.int32),
        relative_error(squares, solved.target_squares),
        count_stops(solved.reasons.reshape(-1), solved.posed.reshape(-1)),
        jnp.asarray(form, jnp.int32),
    )


class _Solved(NamedTuple):
    """A batch of groups' answers."""

    indices: Int[Array, "g k"]  # of examples
    weights: Float[Array, "g k"]
    matched: Int[Array, ""]
    squares: Float[Array, ""]  # ‖residual‖² of all
    calibrated: tuple[Array, Array] | None  # weights and squares, where these may be taken
    target_squares: Float[Array, ""]
    reasons: Int[Array, "g"]
    posed: Bool[Array, "g"]  # a problem with a budget


def _solve(
    members: Int[Array, "g m"],
    each: tuple[Array, Array | None],
    rows: tuple[gr.Atoms, Array],
    options: MatchingOptions,
    *,
    slots: int,
    form: Form,
) -> _Solved:
    """A batch of groups: budgets and targets `each`, their members' gradients and scores `rows`."""
    (budgets, target), (gradients, scores) = each, rows
    # Widened first: what factors add to rows in bfloat16 would have XLA widen all before the loop.
    atoms, valid = factors(widened(gradients)), members >= 0
    dtype = atoms.left.dtype
    if target is None:
        target = atoms.weighted_sum(valid.astype(dtype))
    target = target.reshape(-1, *atoms.shape)
    target_sq_norm = jnp.sum(target**2, axis=(1, 2))
    lam = jnp.broadcast_to(jnp.asarray(options.lam, dtype), budgets.shape)
    if options.lam_scale == "relative":
        squares = jnp.where(valid, atoms.squares(), 0.0)
        count = jnp.maximum(jnp.sum(valid, axis=1), 1).astype(dtype)
        lam = lam * jnp.sum(squares, axis=1) / count
    problem = Problem(target_sq_norm, valid, budgets, lam, atoms=atoms, target=target)
    positions, weights, reasons = match(problem, slots, options, form)
    matched = jnp.sum(positions >= 0, dtype=jnp.int32)
    if options.fill != "none":
        member_scores = jnp.where(valid, scores, -1.0)
        positions, weights = fill_slots(positions, weights, valid, budgets, member_scores)
    chosen = jax.vmap(type(atoms).take)(atoms, positions)
    others = None
    if options.fill in ("calibrated", "steady"):
        others = calibrated(chosen, positions >= 0, valid, target, lam, options.nonnegative)
    if others is not None and options.fill == "calibrated":
        weights, others = others, None

    def missed(weights):
        return jnp.sum((chosen.weighted_sum(weights) - target) ** 2)

    group = jnp.arange(members.shape[0])[:, None]
    indices = jnp.where(positions >= 0, members[group, positions], -1)
    return _Solved(
        indices, weights, matched, missed(weights),
        None if others is None else (others, missed(others)),
        jnp.sum(target_sq_norm), reasons, budgets > 0,
    )  # fmt: skip


_solve_round = jax.jit(_solve, static_argnames=("slots", "form"))
