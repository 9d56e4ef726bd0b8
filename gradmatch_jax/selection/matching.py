"""Groups of gradients -> matching problems -> weighted examples: what is below `select_subset`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gradmatch_jax import gradients as gr
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.inputs.arrays import widened, working_dtype
from gradmatch_jax.selection import problems
from gradmatch_jax.selection.groups import Groups, bucket, map_groups, room_for, slots_for
from gradmatch_jax.selection.padding import are_few, filled_up, with_classes, with_rows
from gradmatch_jax.selection.problems import by_group, joined
from gradmatch_jax.selection.ranking import uneven
from gradmatch_jax.selection.result import Selection, empty_selection, trim
from gradmatch_jax.selection.rounds import in_rounds, map_rounds
from gradmatch_jax.selection.spread import mesh_of, split_rows, to_all, up_to, whole
from gradmatch_jax.solvers.atoms import factors, shape_of
from gradmatch_jax.solvers.options import MatchingOptions, with_form
from gradmatch_jax.solvers.problem import Form
from gradmatch_jax.solvers.pursuit import choose_form


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
    target, sizes = to_all(with_rows(target, g - real), mesh), Sizes(slots, room, form, mesh)
    posed = gradients, groups, target, options
    many = in_rounds(mesh, *posed, key)
    selection, solved = (_match_in_rounds if many else _match_groups)(*posed, key, sizes)
    if options.fill in ("calibrated", "steady"):
        weigh = partial(_weigh_in_rounds if many else _weigh_groups, *posed, solved, sizes)
        anew = options.fill == "calibrated" or uneven(selection.weights)
        selection = _where(anew, weigh, selection)
    return trim(selection, budget)


def _where(condition: bool | Array, make: Callable[[], Selection], other: Selection) -> Selection:
    """What is made, but only where it is wanted, or the other."""
    if isinstance(condition, Tracer):
        return lax.cond(condition, make, lambda: other)
    return make() if condition else other


def _relative_lam(
    gradients: gr.Atoms, groups: Groups, n: int, options: MatchingOptions
) -> float | None:
    """The least lam of the groups over their mean squared gradient norm; None where that is traced.

    n: examples, of which there may be fewer than rows.
    """
    if isinstance(options.lam, Tracer):
        return None
    if options.lam_scale == "relative":
        return float(options.lam)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((gradients, groups))):
        return None
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


@dataclass(frozen=True)
class Sizes:
    """Of what a selection is compiled for."""

    slots: int  # of a group's answer
    room: int  # entries of all
    form: Form
    mesh: Mesh | None

    def solving(self) -> dict[str, Any]:
        """What `problems.solve` is compiled for."""
        return {"slots": self.slots, "form": self.form}


@partial(jax.jit, static_argnames=("sizes",))
def _match_groups(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    options: MatchingOptions,
    key: PRNGKeyArray,
    sizes: Sizes,
) -> tuple[Selection, problems.Solved]:
    """Solve every group's problem, and join the answers by the match's own weights."""
    rows = gradients, _fill_scores(gradients, key)
    solve = partial(problems.solve, options=options, **sizes.solving())
    at_once, _ = _round_of(groups, gradients, sizes)
    solved = _of_each(solve, groups, at_once, rows, target, sizes.mesh)
    return joined(solved, solved.weighed, groups.members, sizes.room, sizes.form), solved


@partial(jax.jit, static_argnames=("sizes",))
def _weigh_groups(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    options: MatchingOptions,
    solved: problems.Solved,
    sizes: Sizes,
) -> Selection:
    """The same by calibrated weights."""
    targets = target, by_group(solved.positions, len(groups.members))
    weigh = partial(problems.weigh, options=options)
    at_once, _ = _round_of(groups, gradients, sizes)
    weighed = _of_each(weigh, groups, at_once, gradients, targets, sizes.mesh)
    return joined(solved, weighed, groups.members, sizes.room, sizes.form)


def _of_each(
    program: Callable, groups: Groups, at_once: int, rows: Any, targets: Any, mesh: Mesh | None
) -> Any:
    """The program's answers on a few groups at a time.

    On several devices the groups are spread over them; the atoms of a single one are split by rows.
    """
    g = len(groups.members)
    rows = split_rows(rows, mesh)
    if g == 1 and mesh is not None:
        rows = jax.tree.map(lambda x: x[groups.members], rows)
        rows = split_rows(rows, mesh, axis=1)
        made = program(groups.members, (groups.budgets, targets), rows)
    else:
        made = map_groups(program, groups, at_once, rows, targets, mesh)
    return whole(made, mesh)


def _match_in_rounds(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    options: MatchingOptions,
    key: PRNGKeyArray,
    sizes: Sizes,
) -> tuple[Selection, problems.Solved]:
    """`_match_groups` in calls of one program, on the cores of a CPU."""
    rows = gradients, _fill_scores(gradients, key)
    solved = map_rounds(
        _solve_round, groups, *_round_of(groups, gradients, sizes), rows, target, (options,),
        **sizes.solving(),
    )  # fmt: skip
    return joined(solved, solved.weighed, groups.members, sizes.room, sizes.form), solved


def _weigh_in_rounds(
    gradients: gr.Atoms,
    groups: Groups,
    target: Array | None,
    options: MatchingOptions,
    solved: problems.Solved,
    sizes: Sizes,
) -> Selection:
    """`_weigh_groups` so."""
    targets = target, by_group(solved.positions, len(groups.members))
    weighed = map_rounds(
        _weigh_round, groups, *_round_of(groups, gradients, sizes), gradients, targets, (options,)
    )
    return joined(solved, weighed, groups.members, sizes.room, sizes.form)


def _round_of(groups: Groups, gradients: gr.Atoms, sizes: Sizes) -> tuple[int, int]:
    """How many groups share a call, and the numbers that it works on."""
    (g, m), slots, shape = groups.members.shape, sizes.slots, shape_of(gradients)
    features = sizes.form is Form.FEATURES
    system = 3 * math.prod(shape) ** 2 if features else 2 * slots * (m + slots)
    at_once = groups_at_once(g, m, shape, slots, sizes.form)
    return at_once, at_once * (2 * m * sum(shape) + system)


@jax.jit
def _fill_scores(gradients: gr.Atoms, key: PRNGKeyArray) -> Float[Array, "n"]:
    """By which examples are chosen that are not matched."""
    rows = jax.tree.leaves(gradients)[0]
    return jax.random.uniform(key, (rows.shape[0],), working_dtype(rows.dtype))


_solve_round = jax.jit(problems.solve, static_argnames=("slots", "form"))
_weigh_round = jax.jit(problems.weigh)
