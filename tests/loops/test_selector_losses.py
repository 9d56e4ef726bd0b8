"""`Selector` with losses that know no classes: numbers, and several switches at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import Selector
from gradmatch_jax.errors import UserError
from toys import LONG

N, CLASSES = 60, 3
RNG = np.random.default_rng(0)
TARGETS = RNG.normal(size=N).astype(np.float32)
SWITCHES = RNG.integers(0, 2, (N, CLASSES))


def single():
    rng = np.random.default_rng(7)
    return rng.normal(size=(N, 1)).astype(np.float32), rng.normal(size=(N, 4)).astype(np.float32)


@pytest.mark.thorough
@pytest.mark.parametrize("groups", [None, 3, pytest.param(np.arange(N) % 5, marks=LONG)])
@pytest.mark.parametrize("name", ["gradmatch", "gradmatch-per-class", "gradmatch-pb", "craig"])
def test_regression(name, groups):
    selector = Selector(name, fraction=0.2, labels=TARGETS, loss="mse", groups=groups)
    rows, weights = selector(0, single)
    assert len(rows) == 12
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    if groups is not None and name != "gradmatch-pb":  # budgets are the groups' own shares
        of = np.argsort(np.argsort(TARGETS)) // 20 if np.ndim(groups) == 0 else groups
        counts = np.bincount(of[rows])
        assert counts.max() - counts.min() <= 1


@pytest.mark.thorough
def test_regression_matches_the_whole_gradient():
    """One problem over all, against the definition: sum of w_i dl_i by jax.grad."""
    selector = Selector("gradmatch-per-class", fraction=0.4, labels=TARGETS, loss="mse", lam=1e-4)
    rows, _ = selector(0, single)
    z, h = single()

    def total(head, w):
        out = jnp.matmul(h, head[1:]) + head[0] + z[:, 0]
        return jnp.sum(w * (out - TARGETS) ** 2)

    grad = jax.grad(total)(jnp.zeros(5), jnp.ones(N))
    chosen = selector.selection.numpy()
    of = jax.grad(total)(jnp.zeros(5), jnp.zeros(N).at[chosen[0]].set(chosen[1]))
    assert np.linalg.norm(of - grad) < 1e-3 * np.linalg.norm(grad)
    np.testing.assert_array_equal(rows, chosen[0])


@pytest.mark.thorough
def test_multi_label_needs_no_groups():
    def outputs():
        rng = np.random.default_rng(8)
        return rng.normal(size=(N, CLASSES)).astype(np.float32), single()[1]

    rows, _ = Selector("gradmatch-pb", fraction=0.2, labels=SWITCHES, loss="sigmoid")(0, outputs)
    assert len(rows) == 12
    with pytest.raises(UserError, match="no classes"):
        Selector("gradmatch", fraction=0.2, labels=SWITCHES, loss="sigmoid")(0, outputs)
    with pytest.raises(UserError, match="no one order"):
        Selector("gradmatch-pb", fraction=0.2, labels=SWITCHES, loss="sigmoid", groups=4)
