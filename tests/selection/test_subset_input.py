"""`select_subset` on degenerate input, and the errors it answers bad input with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import gradients as gr
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients
from gradmatch_jax.selection.batch_subset import select_batches
from gradmatch_jax.selection.groups import partition
from plain_omp import (
    BUDGET,
    LABELS,
    SIGNED,
    SIZES,
    C,
    E,
    N,
    by_index,
    check,
    random_gradients,
    select,
)
from toys import LONG, mostly_long, spoiled


@pytest.mark.thorough
@LONG
def test_all_zero_gradients():
    zero = LastLayerGradients(jnp.zeros((N, C)), random_gradients().features)
    relative = {"lam": 0.1, "lam_scale": "relative"}
    for options in ({}, {"lam": 0.0}, {"fill": "none"}, relative):
        selection = select(zero, **options, **SIGNED)
        check(selection)
        assert int(selection.num_matched) == 0
        assert int(selection.size) == (0 if options.get("fill") else BUDGET)
        assert float(selection.matching_error) == 0.0
    signless = select(zero)
    check(signless)
    assert int(signless.num_matched) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("lam", mostly_long([0.0, 1e-3, 0.5], 1e-3))
def test_duplicates(lam):
    """Every example of a class the same: one or several may be chosen, never one twice."""
    gradients = random_gradients()
    first = np.array([np.flatnonzero(c == LABELS)[0] for c in LABELS])
    copies = gr.take(gradients, jnp.asarray(first))
    selection = select(copies, lam=lam)
    check(selection)
    assert int(selection.size) == BUDGET
    bare = select(copies, lam=lam, fill="none", **SIGNED)
    check(bare)
    if lam == 0.0:
        assert int(selection.num_matched) == int(bare.num_matched) == 4, "a copy brings nothing"
        for i, weight in by_index(bare).items():
            assert weight == pytest.approx(SIZES[LABELS[i]], rel=1e-4)


@pytest.mark.thorough
def test_zero_target():
    zero = jnp.zeros((C, C, 1 + E))
    selection = select(target=zero, **SIGNED)
    check(selection)
    assert int(selection.num_matched) == 0
    assert int(selection.size) == BUDGET


@pytest.mark.thorough
@LONG
@pytest.mark.parametrize("lam", [0.0, 1e-6])
def test_budget_beyond_rank_and_beyond_n(lam):
    """80 of 60 examples, whose gradients span C(1 + E) = 25 dimensions."""
    gradients = random_gradients()
    selection = select(gradients, 80, labels=None, lam=lam, **SIGNED)
    check(selection, 80)
    assert int(selection.size) == N
    bare = select(gradients, 80, labels=None, lam=lam, fill="none")
    check(bare, 80)
    assert float(bare.matching_error) < 1e-3
    if lam == 0.0:
        assert max(int(bare.num_matched), int(selection.num_matched)) <= C * (1 + E)
    batches = select_batches(gradients, 80, 8, lam=lam, key=jax.random.key(0))
    check(batches, 80)
    assert int(batches.size) == N


def test_budget_zero():
    for labels in (None, LABELS):
        selection = select(budget=0, labels=labels)
        check(selection, 0)
        assert (int(selection.size), float(selection.matching_error)) == (0, 1.0)
    assert select_batches(random_gradients(), 0, 8, key=jax.random.key(0)).size == 0


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [select, lambda g: select_batches(g, 12, 8, key=jax.random.key(0))]
)
def test_non_finite_rows_are_counted(call):
    residuals, features = random_gradients()
    bad = LastLayerGradients(spoiled(residuals, 7, 1), spoiled(features, 41, 0, np.inf))
    with pytest.raises(UserError, match=r"2 of 60 gradient rows hold nan or inf \(first: row 7\)"):
        call(bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": -1}, "budget must be 0 or more, not -1"),
        ({"lam": -0.5}, "lam must be 0 or more, not -0.5"),
        ({"labels": LABELS[:50]}, r"labels have shape \(50,\), expected \(60,\)"),
        ({"labels": LABELS[:, None]}, r"labels have shape \(60, 1\), expected \(60,\)"),
        ({"labels": LABELS / 2}, "labels must be integers"),
        ({"labels": LABELS - 1}, "1 labels lie outside"),
        ({"gradients": jnp.zeros(7)}, r"not of shapes \[\(7,\)\]"),
        ({"gradients": LastLayerGradients(jnp.ones((4, 2)), jnp.ones((5, 3)))}, "not of shapes"),
        ({"target": jnp.zeros((C, 1 + E))}, r"target has shape .*, expected \(5, 5, 5\)"),
        ({"target": jnp.zeros((5, C, E))}, r"target has shape .*, expected \(5, 5, 5\)"),
        ({"labels": None, "target": jnp.zeros((C, E))}, r"expected \(5, 5\)"),
        ({"labels": None, "approximation": "per_gradient"}, "needs LastLayerGradients and labels"),
        ({"gradients": jnp.ones((60, 3)), "approximation": "per_gradient"}, "needs LastLayer"),
        ({"approximation": "exacct"}, "no approximation named 'exacct'.* Did you mean 'exact'"),
        ({"fill": "zeros"}, "no fill named"),
        ({"lam_scale": "log"}, "no lam_scale named"),
        pytest.param({"lam": float("nan")}, "lam must be"),
        pytest.param({"labels": partition(LABELS, 10)}, "budget"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UserError, match=message) as error:
        select(**options)
    assert "\n" not in str(error.value)
