"""What the Gram form keeps of its columns, and how much of it. `gram_form` has their recursion."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gradmatch_jax.solvers.atoms import AtomColumns, Atoms
from gradmatch_jax.solvers.batched import columns_at, rows_at
from gradmatch_jax.solvers.moves import Move
from gradmatch_jax.solvers.problem import LEAST_LAM, Problem

# Remainders made at once: a product of so many takes about twice a pass over the columns and serves
# five moves on a class of MNIST. Half where atoms are longer than WIDE: each needs a row of G.
# Where those are at hand and all columns take no more bytes than NEAR, and so stay in a cache, none
# is made but what the next move needs.
CANDIDATES = 8
WIDE = 128
NEAR = 2**20
# Of more than MANY long atoms those of the next FORESEEN moves (`foresight`): most are made.
# Shorter ones are foreseen as well by their correlations. On a CPU: an accelerator waits for every
# kernel of a move, however few atoms it is about.
MANY = 512
FORESEEN = 12
LARGE = 2**28  # numbers in the columns: those are kept twice then
AT_ONCE = 16  # moves before their columns are turned: each touches all of that array's pages
# Moves between corrections, at least and at most: one costs as much as several refills. In between
# it waits until the largest residual correlation is this share of what it was at the last one,
# since the rounding that all correlations carry is that of the largest.
CORRECT = 16
LATEST = 128
FALLEN = 0.5
LAST = 3  # corrections of the weights at the end
# Of the 8 eps that a pivot is held against, what it passes on to others: with a quarter one problem
# of fifty goes past its rank, with all of it pivots of 1e-6 of the diagonal are lost.
CARRIED = 0.75
# Columns are read so many at a time, and no more than there are.
CHUNK = 64


class Candidates(NamedTuple):
    """Remainders at hand."""

    places: Int[Array, "g b"]  # of an atom, or n + that of a pick
    rows: Float[Array, "g b n+s"]


class State(NamedTuple):
    """State of the loop: s places of columns; n + s is n where weights may be negative."""

    step: Int[Array, ""]  # columns used
    corrected: Int[Array, ""]  # of them when the residual was last made anew
    largest: Float[Array, "g"]  # residual correlation then
    columns: Float[Array, "g s n+s"]  # (d, u)
    turned: Float[Array, "g n+s s"] | None  # the same: all that a place has lies together
    signs: Float[Array, "g s"]  # +1 a pick, -1 an atom that left, 0 neither
    residual: Float[Array, "g n+s"]  # (r, -w)
    pivots: Float[Array, "g n+s"]  # (the squared pivot each atom would have now, -q)
    noise: Float[Array, "g n+s"]  # that picks have passed on to the pivots
    candidates: Candidates
    support: Int[Array, "g s"]  # the atoms that are in, each in its pick's place; -1 elsewhere
    chosen: Bool[Array, "g n"]
    feasible: Float[Array, "g s"]
    objective: Float[Array, "g"]
    moves: Int[Array, "g"]
    move: Move  # the next one
    place: Int[Array, "g"]  # its atom, or n + its pick's place


class Space(NamedTuple):
    """The space of the atoms."""

    atoms: Atoms
    columns: AtomColumns
    target: Float[Array, "g C W"]
    rounding: Float[Array, "g n"]  # of a_i . (t - A_S' w)
    needed: Bool[Array, ""]  # whether lam is so small that correlations are made there


class Constants(NamedTuple):
    """What the loop reads, for each of g problems."""

    problem: Problem
    correlations: Float[Array, "g n"]
    picks: Int[Array, "g"]  # that a budget has room for
    diagonal: Float[Array, "g n"]  # of G + lam I
    noise: Float[Array, "g n"]  # in the diagonal: a pivot below it is a chosen combination's
    singular: Bool[Array, "g"]  # whether lam is no more than the mean noise
    rounding: Float[Array, "g n"]  # a correlation below this is rounding error
    small: Float[Array, "g"]  # an objective below this is below eps, rounding included
    space: Space | None  # None where only G is given
    nonnegative: bool
    slots: int

    @property
    def width(self) -> int | None:
        """Numbers of an atom's factors; None where only G is given."""
        return None if self.space is None else sum(self.space.target.shape[1:])

    @property
    def dual(self) -> bool:
        """Whether columns have their second part."""
        return self.nonnegative or self.space is not None


class Step(NamedTuple):
    """A move's column, d, with its sign, and its y: r <- r - y (sign d), pivots - (sign d) d."""

    column: Float[Array, "g m"]
    signed: Float[Array, "g m"]
    y: Float[Array, "g"]


def step_of(
    sign: Float[Array, "g"],
    place: Int[Array, "g"],
    row: Float[Array, "g m"],
    residual: Float[Array, "g m"],
    pivots: Float[Array, "g m"],
) -> Step:
    """Of the move to `place` whose remainder is `row`, at whatever places are looked at."""
    g = jnp.arange(place.shape[0])
    square = jnp.where(sign == 0, 1.0, sign * pivots[g, place])
    pivot = sign / jnp.sqrt(jnp.maximum(square, jnp.finfo(row.dtype).tiny))
    column = pivot[:, None] * row
    return Step(column, sign[:, None] * column, pivot * residual[g, place])


def noise_after(
    const: Constants, state: State, step: Step, sign: Float[Array, "g"]
) -> Float[Array, "g m"]:
    """That of the pivots after a move: what a pick takes from one is wrong as its own pivot is.

    Of pivots that become small one after another the next is lost the sooner, so rank is met by no
    fixed share of the diagonal. An atom that leaves gives back what it took, and its error with it.
    Where lam is above the noise, as a rule, no pivot sinks into it.
    """
    g, n = jnp.arange(state.place.shape[0]), const.noise.shape[1]
    first = jnp.where(state.place < n, const.noise[g, jnp.minimum(state.place, n - 1)], 0.0)
    own = state.noise[g, state.place] + CARRIED * first
    pivot = jnp.maximum(jnp.abs(state.pivots[g, state.place]), jnp.finfo(own.dtype).tiny)
    share = jnp.where(const.singular, jnp.clip(own / pivot, 0.0, 1.0), 0.0)
    return state.noise + (sign * share)[:, None] * step.column**2


def space_of(problem: Problem) -> Space | None:
    """That of the problem's atoms."""
    atoms, target = problem.atoms, problem.target
    if atoms is None or target is None or problem.gram is not None:
        return None
    squares = jnp.where(problem.free, atoms.squares(), 0.0)
    count = jnp.maximum(jnp.sum(problem.free, axis=1), 1).astype(squares.dtype)
    mean = jnp.sum(squares, axis=1) / count
    relative = jnp.sqrt(squares / jnp.where(mean > 0, mean, 1.0)[:, None])
    target = target.reshape(target.shape[0], *atoms.shape)
    size = jnp.sqrt(jnp.sum(atoms.spread(problem.free) * target**2, axis=(1, 2)))
    return Space(
        atoms=atoms,
        columns=AtomColumns(*(jnp.swapaxes(x, 1, 2) for x in atoms)),
        target=target,
        rounding=4 * float(jnp.finfo(squares.dtype).eps) * size[:, None] * relative,
        needed=jnp.any(problem.lam < LEAST_LAM * mean),
    )


def constants_of(problem: Problem, slots: int, *, eps: float, nonnegative: bool) -> Constants:
    """What the loop reads of a problem."""
    correlations = problem.correlated()
    machine = float(jnp.finfo(correlations.dtype).eps)
    diagonal = problem.squares() + problem.lam[:, None]
    largest, space = jnp.max(jnp.abs(correlations), axis=1, initial=0.0), space_of(problem)
    rounding = jnp.broadcast_to(4 * machine * largest[:, None], correlations.shape)
    if space is not None:
        rounding = jnp.where(space.needed, space.rounding, rounding)
    small, noise = eps - 4 * machine * problem.target_sq_norm, 8 * machine * diagonal
    count = jnp.maximum(jnp.sum(problem.free, axis=1, dtype=noise.dtype), 1)
    singular = problem.lam <= jnp.sum(jnp.where(problem.free, noise, 0.0), axis=1) / count
    return Constants(
        problem, correlations, problem.picks().astype(jnp.int32), diagonal, noise, singular,
        rounding, small, space, nonnegative, slots,
    )  # fmt: skip


def most_moves(const: Constants) -> int:
    """Of any problem: a pick for each slot where none leaves, else the limit of `moves`."""
    return 4 * const.slots + 4 if const.nonnegative else const.slots


def places_for(const: Constants) -> int:
    """Columns: some room for atoms that leave, all of it where that is little."""
    most = most_moves(const)
    places = most if most <= CHUNK else min(most, const.slots + const.slots // 8 + 8)
    return places + -places % chunk_of(places)


def chunk_of(places: int) -> int:
    """Columns in a product: they divide the places."""
    return min(CHUNK, places)


def foresees(n: int, width: int | None, slots: int) -> bool:
    """Whether remainders are made by moves that are foreseen.

    Args:
        n: atoms.
        width: numbers of an atom's factors; None where only G is known.
        slots: picks, at most.
    """
    if jax.default_backend() != "cpu" or (n + slots) * slots > LARGE:
        return False
    return n > MANY and (width is None or width > WIDE)


def candidates(const: Constants) -> int:
    """How many: a row of G costs more than a remainder where atoms are long."""
    (g, n), places = const.correlations.shape, places_for(const)
    size = const.correlations.dtype.itemsize * g * places * (n + places)
    if const.space is None and size <= NEAR:
        return 1
    if foresees(n, const.width, const.slots):
        return min(FORESEEN, const.slots)
    return CANDIDATES // 2 if (const.width or 0) > WIDE else CANDIDATES


def weights_of(const: Constants, state: State) -> Float[Array, "g s"]:
    """Least squares on the support, of any sign."""
    return jnp.where(state.support >= 0, -state.residual[:, const.correlations.shape[1] :], 0.0)


def entries_at(state: State, places: Int[Array, "g b"]) -> Float[Array, "g b s"]:
    """What all columns have at a few places."""
    if state.turned is not None:
        return rows_at(state.turned, places)
    return jnp.swapaxes(columns_at(state.columns, places), 1, 2)


def rows_of_gram(const: Constants, places: Int[Array, "g b"]) -> Float[Array, "g b n"]:
    """Those of G."""
    if const.space is not None:
        return const.space.columns.rows(places)
    assert const.problem.gram is not None
    return const.problem.gram[jnp.arange(places.shape[0])[:, None], places]
