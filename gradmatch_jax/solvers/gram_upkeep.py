"""What puts the Gram form right: correlations corrected, columns made anew, columns turned."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gradmatch_jax.solvers.batched import apply, apply_from_left
from gradmatch_jax.solvers.gram_columns import (
    AT_ONCE,
    LATEST,
    Constants,
    Space,
    State,
    rows_of_gram,
    weights_of,
)
from gradmatch_jax.solvers.problem import first_slots

_HIGHEST = lax.Precision.HIGHEST


def corrected(const: Constants, space: Space, state: State) -> tuple[Array, Array]:
    """(r, -w) and E_lam: on an exact support a_j . (t - A_S' w) = lam w_j."""
    n, taken = const.correlations.shape[1], state.support >= 0
    chosen, weights = space.atoms.at(jnp.maximum(state.support, 0)), weights_of(const, state)
    rest = space.target - chosen.weighted_sum(weights)
    miss = jnp.where(taken, chosen.products(rest) - const.problem.lam[:, None] * weights, 0.0)
    dual = state.columns[:, :, n:]
    change = apply_from_left(state.signs * apply(dual, miss), dual)
    change = jnp.where(taken, change, 0.0)
    rest = rest - chosen.weighted_sum(change)
    correlations = jnp.where(const.problem.free, space.columns.products(rest), 0.0)
    residual = jnp.concatenate([correlations, -weights - change], axis=1)
    return residual, jnp.sum(space.target * rest, axis=(1, 2))


def rebuilt(const: Constants, state: State) -> State:
    """With L L' = G_SS + lam I: the columns are those of L^-1 (G_S, I)."""
    k, n = const.slots, const.correlations.shape[1]
    support, feasible = first_slots(state.support, state.feasible, state.support >= 0)
    support, feasible = support[:, :k], feasible[:, :k]
    taken, eye = support >= 0, jnp.eye(k, dtype=feasible.dtype)[None]
    rows = jnp.where(taken[:, :, None], rows_of_gram(const, jnp.maximum(support, 0)), 0.0)
    gram = jnp.take_along_axis(rows, jnp.maximum(support, 0)[:, None, :], axis=2)
    largest = jnp.max(const.diagonal, axis=1)
    lam = jnp.maximum(const.problem.lam, jnp.finfo(eye.dtype).eps * largest)
    shift = jnp.where(taken, lam[:, None], 1.0)[:, :, None] * eye
    factor = jnp.linalg.cholesky(jnp.where(taken[:, None, :], gram, 0.0) + shift)
    known = jnp.where(taken, jnp.take_along_axis(const.correlations, support, axis=1), 0.0)
    own = jnp.where(taken[:, :, None], eye, 0.0)
    sides = jnp.concatenate([rows, own, known[:, :, None]], axis=2)
    solved = lax.linalg.triangular_solve(factor, sides, left_side=True, lower=True)
    columns, y = solved[:, :, :-1], solved[:, :, -1]
    spare = (0, state.columns.shape[1] - k)
    columns = jnp.pad(columns, ((0, 0), spare, spare))
    width = ((0, 0), (0, columns.shape[2] - n))
    explained = jnp.einsum("gs,gsn->gn", y, columns[:, :k], precision=_HIGHEST)
    return state._replace(
        step=jnp.asarray(k, jnp.int32),
        corrected=jnp.asarray(-LATEST, jnp.int32),
        columns=columns,
        turned=_turned_anew(state.turned, columns),
        signs=jnp.pad(taken.astype(eye.dtype), ((0, 0), spare)),
        residual=jnp.pad(const.correlations, width) - explained,
        pivots=jnp.pad(const.diagonal, width) - jnp.sum(columns**2, axis=1),
        noise=state.noise.at[:, n:].set(0.0),
        support=jnp.pad(support, ((0, 0), spare), constant_values=-1),
        feasible=jnp.pad(feasible, ((0, 0), spare)),
        objective=const.problem.target_sq_norm - jnp.sum(y**2, axis=1),
    )


def turned_after(state: State, first: Int[Array, ""]) -> State:
    """With the columns since `first` turned, at most AT_ONCE: a column alone takes as long."""
    if state.turned is None:
        return state
    return state._replace(turned=_with_turned(state.turned, state.columns, first))


def _turned_anew(turned: Array | None, columns: Float[Array, "g s m"]) -> Array | None:
    """All columns, in the place of others: a transpose would have its own layout, and be copied."""
    if turned is None:
        return None
    several = -(-columns.shape[1] // AT_ONCE)
    return lax.fori_loop(
        0, several, lambda i, turned: _with_turned(turned, columns, i * AT_ONCE), turned
    )


def _with_turned(turned: Float[Array, "g m s"], columns: Array, first: Array) -> Array:
    """Of the last columns more than those since `first`: either slice begins within its array."""
    some = lax.dynamic_slice_in_dim(columns, first, min(AT_ONCE, columns.shape[1]), axis=1)
    return lax.dynamic_update_slice_in_dim(turned, jnp.swapaxes(some, 1, 2), first, axis=2)
