"""GLISTER-ONLINE: the subset whose SGD step lowers the validation loss most.

Killamsetty, Sivasubramanian, Ramakrishnan and Iyer 2021, "GLISTER: Generalization based Data
Subset Selection for Efficient and Robust Learning", GLISTER-ONLINE. Of the inner problem one step
of SGD is taken, in the last layer theta = (bias, weights):

    minimise over S, |S| = k    L_V(theta_S),    theta_S = theta - eta sum_{j in S} g_j

L_V is the mean validation loss, g_j an example's last-layer gradient. With G(S) the gradient of L_V
at theta_S, an example more lowers the loss by

    L_V(theta_S) - L_V(theta_S - eta g_e) = eta <g_e, G(S)> + O(eta²)

so a greedy pick is the largest <g_e, G(S)>: one matrix product for all e at once. Where the step
takes the validation set needs no network either: its logits become z_v - eta M [1, h_v], where
M = sum_{j in S} g_j is a (C, 1+E) array.

The step is eta times the *sum* over S, as the paper writes it, not times the mean. An epoch on S in
batches of B takes |S|/B steps of eta times a batch's mean: a path of eta/B times the sum, so B
times shorter. For large k (or eta, or features) theta_S thus passes the minimum of L_V on its way:
G(S) turns about, the later picks are those that bring the step back, and L_V(theta_S) need not be
below L_V(theta). `eta` divided by B is the step of such an epoch, divided by k that of the mean.
"""

import math
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import (
    LastLayerGradients,
    correlations,
    last_layer_gradients,
    take,
    weighted_sum,
)
from gradmatch_jax.inputs.arrays import (
    ArrayLike,
    Count,
    Key,
    Number,
    as_array,
    as_key,
    as_rows,
    check_finite,
)
from gradmatch_jax.inputs.atoms import as_atoms
from gradmatch_jax.inputs.labels import as_labels
from gradmatch_jax.inputs.values import SHARE, as_budget, as_number, check_literal
from gradmatch_jax.selection.groups import bucket, slots_for
from gradmatch_jax.selection.padding import are_few, with_rows
from gradmatch_jax.selection.ranking import rank_by_score
from gradmatch_jax.selection.result import Selection, pad, trim, unweighted
from gradmatch_jax.selection.spread import mesh_of, own_rows, to_rows, up_to, whole

Greedy = Literal["taylor", "naive", "stochastic"]
EPSILON = 0.01  # stochastic greedy: the share of the guarantee that is given up


class Validation(NamedTuple):
    """The validation set as the last layer sees it."""

    logits: ArrayLike  # (m, C)
    features: ArrayLike  # (m, E)
    labels: ArrayLike  # (m,), classes 0..C-1


def glister(
    gradients: ArrayLike,
    validation: Validation,
    budget: Count | None = None,
    *,
    eta: Number,
    greedy: Greedy | str = "taylor",
    refresh: Number = 0.03,
    key: Key | None = None,
    fraction: Number | None = None,
) -> Selection:
    """Choose min(budget, n) examples by greedy ascent of the Taylor gain <g_e, G(S)>.

    For m validation examples, taylor costs ceil(1/refresh) times O((n + m) C E), naive k times
    that, and stochastic k times O(m C E): no pick looks at all n.

    Args:
        gradients: `LastLayerGradients` of the n training examples.
        validation: of the same network.
        budget: the result has this many entries, -1 where n is smaller; weights are 1, for GLISTER
            has none; `matching_error` is nan. The examples come in the order they were picked.
        eta: the virtual step's learning rate, for the sum of the gradients (see the module).
        greedy: "taylor" takes the r = ceil(refresh k) largest gains at once, then computes G anew,
            as the paper does for speed (r = 0.03 k); ties go to the lower index. "naive" is r = 1.
            "stochastic" takes the best of ceil(n/k log 100) free examples drawn with replacement
            at each pick (Mirzasoleiman et al. 2015, "Lazier than lazy greedy", epsilon = 0.01);
            where that is n or more it is naive. Without the draws all three are deterministic.
        refresh: see `greedy`.
        key: for the draws (None: a fixed key).
        fraction: the budget as a share of n, in its place.

    Returns:
        The examples in the order they were picked, weight 1 each; `matching_error` is nan.

    Raises:
        UserError: both or neither of budget and fraction, or such as are no budget; a negative eta;
            refresh outside (0, 1]; an unknown `greedy`; an empty validation set, one of other
            widths or labels; nan or inf in the arrays, or a step that overflows (when not traced).

    Example:
        >>> gradients = last_layer_gradients([[0.0, 0.0]] * 2, [[1.0], [3.0]], [0, 1])
        >>> glister(gradients, Validation([[0.0, 0.0]], [[2.0]], [1]), 1, eta=0.1).indices.tolist()
        [1]
    """
    atoms = as_atoms(gradients)
    if not isinstance(atoms, LastLayerGradients):
        raise UserError("gradients must be LastLayerGradients: GLISTER steps in the last layer")
    gradients, n = atoms, atoms.residuals.shape[0]
    budget = as_budget(budget, fraction, n)
    check_literal("greedy", greedy, get_args(Greedy))
    refresh = as_number("refresh", refresh, SHARE, static=True)
    eta = as_number("eta", eta)
    validation = _as_validation(validation, gradients)
    key = as_key(key)
    k = min(budget, n)
    if k == 0:
        return unweighted(jnp.full(budget, -1, jnp.int32))
    _check_reach(gradients, validation, eta, k)
    sample = math.ceil(n / k * math.log(1 / EPSILON))
    mesh, size = mesh_of(gradients), validation.features.shape[0]
    validation = to_rows(validation, mesh)
    if greedy == "stochastic" and sample < n:
        shares = _shares(size, validation)
        picks = _by_sampling(gradients, validation, shares, eta, key, k, sample, mesh)
    else:
        # The small term: 0.07 * 100 is a little more than 7.
        at_once = max(1, math.ceil(refresh * k - 1e-9)) if greedy == "taylor" else 1
        slots, room = at_once, k
        if mesh is None and are_few(gradients, validation):
            slots, room = slots_for(at_once, bucket(n)), slots_for(k, bucket(n))
            gradients = with_rows(gradients, bucket(n) - n)
            validation = with_rows(validation, bucket(size) - size)
        shares = _shares(size, validation)
        counts = n, k, at_once
        picks = _by_rounds(gradients, validation, shares, eta, counts, slots, room, mesh)
    return pad(trim(unweighted(picks), k), budget)


def gradient_after_step(
    validation: Validation,
    eta: float | Float[Array, ""],
    moved: Float[Array, "C D"],
    shares: Float[Array, "m"] | None = None,
) -> Float[Array, "C D"]:
    """G: the gradient of the mean validation loss in the last layer at theta - eta `moved`.

    shares: what each row counts, 1 / m by default; 0 where it is none of the validation set.
    """
    logits, features, labels = validation
    kernel = jnp.matmul(features, moved[:, 1:].T, precision=lax.Precision.HIGHEST)
    after = logits - eta * (kernel + moved[None, :, 0])
    gradients = last_layer_gradients(after, features, labels)
    shares = _shares(labels.shape[0], validation) if shares is None else shares
    return weighted_sum(gradients, shares)


def _shares(size: int, validation: Validation) -> Float[Array, "m"]:
    """1 / size for each of the first rows; behind them are some of no validation set."""
    shares = np.full(size, 1 / size)
    rows = np.shape(validation.labels)[0] - size
    return jnp.asarray(np.pad(shares, (0, rows)), jnp.asarray(validation.features).dtype)


def _as_validation(validation: Validation, gradients: LastLayerGradients) -> Validation:
    """Checked arrays of the gradients' widths and dtype."""
    if not isinstance(validation, tuple | list) or len(validation) != len(Validation._fields):
        raise UserError("validation must be Validation(logits, features, labels)")
    logits, features, labels = validation
    (logits,) = as_rows("validation logits", logits)
    (features,) = as_rows("validation features", features, bias=True)
    labels = as_array("validation labels", labels)
    if np.shape(labels)[:1] != logits.shape[:1] or features.shape[0] != logits.shape[0]:
        raise UserError(
            f"{np.size(labels)} validation labels, {logits.shape[0]} rows of logits and "
            f"{features.shape[0]} of features; they are one pass over one set"
        )
    if logits.shape[0] == 0:
        raise UserError("GLISTER needs a validation set, and this one is empty")
    widths = logits.shape[1], features.shape[1]
    expected = gradients.residuals.shape[1], gradients.features.shape[1]
    if widths != expected:
        raise UserError(
            f"validation logits and features are {widths} wide, the training ones {expected}"
        )
    labels = jnp.asarray(as_labels(labels, logits.shape[0], widths[0], "validation labels"))
    dtype = gradients.residuals.dtype
    if not any(isinstance(x, Tracer) for x in (logits, features)):
        check_finite("validation logits and features", logits, features, dtype=dtype)
    return Validation(logits.astype(dtype), features.astype(dtype), labels)


def _check_reach(gradients, validation: Validation, eta, k: int) -> None:
    """An error where eta times the sum of k gradients could take the logits out of range."""
    if any(isinstance(x, Tracer) for x in (*gradients, *validation, eta)):
        return
    with jax.ensure_compile_time_eval():
        step, *widths = (
            float(jnp.max(jnp.abs(x))) if x.size else 0.0 for x in (*gradients, validation.features)
        )
    dtype, width = gradients.residuals.dtype, gradients.features.shape[1] + 1
    reach = eta * k * step * width * max(1.0, widths[0]) * max(1.0, widths[1])
    if reach > float(jnp.finfo(dtype).max) / width:
        raise UserError(
            f"eta times the sum of {k} gradients overflows {dtype}: lower eta, or rescale the "
            "features"
        )


@partial(jax.jit, static_argnames=("slots", "room", "mesh"))
def _by_rounds(
    gradients, validation, shares, eta, counts, slots: int, room: int, mesh: Mesh | None
) -> Int[Array, "room"]:
    """The `at_once` largest gains among the free examples, G anew, and again.

    On several devices each has the gains of its rows, and its rows' part of G.

    counts: n, k and `at_once`, as arrays: others compile nothing, within `room` and `slots`.
    """
    n, k, at_once = (jnp.asarray(count, jnp.int32) for count in counts)
    rows = up_to(gradients.features.shape[0], mesh)
    places = jnp.arange(slots, dtype=jnp.int32)
    gradients = own_rows(gradients, mesh)

    def body(i, carry):
        picks, free, moved = carry
        gains = correlations(gradients, gradient_after_step(validation, eta, moved, shares))
        best = rank_by_score(whole(gains, mesh)[None], free[None], slots)[0]
        to = i * at_once + places
        taken = (places < at_once) & (to < k) & (best >= 0)
        return (
            picks.at[jnp.where(taken, to, room)].set(best, mode="drop"),
            free.at[jnp.where(taken, best, rows)].set(False, mode="drop"),
            moved + weighted_sum(take(gradients, best), taken.astype(moved.dtype)),
        )

    picks = jnp.full(room, -1, jnp.int32)
    start = picks, jnp.arange(rows, dtype=jnp.int32) < n, _nothing_moved(gradients)
    return whole(lax.fori_loop(0, -(-k // at_once), body, start)[0], mesh)


@partial(jax.jit, static_argnames=("k", "sample", "mesh"))
def _by_sampling(gradients, validation, shares, eta, key, k, sample, mesh) -> Int[Array, "k"]:
    """At each pick the largest gain among `sample` free examples."""
    n, gradients = gradients.features.shape[0], own_rows(gradients, mesh)

    def body(i, carry):
        picks, pool, moved = carry  # the first n - i of the pool are free
        places = jax.random.randint(jax.random.fold_in(key, i), (sample,), 0, n - i)
        candidates = take(gradients, pool[places])
        gains = correlations(candidates, gradient_after_step(validation, eta, moved, shares))
        place = places[jnp.argmax(gains)]
        pick = pool[place]
        return (
            picks.at[i].set(pick),
            pool.at[place].set(pool[n - i - 1]),  # the last free one closes the gap
            moved + weighted_sum(take(gradients, pick[None]), jnp.ones(1, moved.dtype)),
        )

    pool = jnp.arange(n, dtype=jnp.int32)
    start = jnp.full(k, -1, jnp.int32), pool, _nothing_moved(gradients)
    return whole(lax.fori_loop(0, k, body, start)[0], mesh)


def _nothing_moved(gradients) -> Float[Array, "C D"]:
    residuals, features = gradients
    return jnp.zeros((residuals.shape[1], features.shape[1] + 1), features.dtype)
