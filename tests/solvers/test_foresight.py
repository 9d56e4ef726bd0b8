"""What the Gram form makes ready: the moves that it then makes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.solvers import foresight, gram_form
from gradmatch_jax.solvers.atoms import dense_atoms
from gradmatch_jax.solvers.gram_columns import constants_of
from gradmatch_jax.solvers.problem import Problem
from oracles import random_problem
from toys import mostly_long

AHEAD = 8


def posed(problem, given):
    """The problem by its Gram matrix, or by its atoms."""
    atoms, target = jnp.asarray(problem.atoms), jnp.asarray(problem.target)
    n = len(atoms)
    if given == "gram":
        by = {"gram": (atoms @ atoms.T)[None], "correlations": (atoms @ target)[None]}
    else:
        rows = jax.tree.map(lambda x: x[None], dense_atoms(atoms))
        by = {"atoms": rows, "target": target[None, None]}
    return Problem(
        (target @ target)[None], jnp.ones((1, n), bool), jnp.full(1, 60, jnp.int32),
        jnp.full(1, problem.lam, atoms.dtype), **by,
    )  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("nonnegative", mostly_long([True, False], True))
@pytest.mark.parametrize("given", ["gram", "atoms"])
def test_the_next_moves_are_foreseen(given, nonnegative, monkeypatch):
    """Among all atoms to the last one, departures of atoms just picked with them; of a few most."""
    problem = random_problem(5, 300, 30, 0.5, "independent")
    with jax.enable_x64(True):
        const = constants_of(posed(problem, given), 60, eps=0.0, nonnegative=nonnegative)

        def one(state):
            state = gram_form._put_right(const, state)
            ahead = foresight.foreseen(const, state, AHEAD)
            return gram_form._advance(const, gram_form._refill(const, state)), state.place, ahead

        def made(steps, among):
            monkeypatch.setattr(foresight, "AMONG", among)
            state, places, ahead = gram_form._start(const), [], []
            step = jax.jit(one)
            for _ in range(steps):
                state, place, foreseen = step(state)
                places.append(int(place[0]))
                ahead.append(foreseen[0].tolist())
            return places, ahead

        places, ahead = made(40, 10**4)
        if nonnegative:
            assert max(places) >= 300, "an atom leaves"
        for i in range(40 - AHEAD):
            assert ahead[i] == places[i : i + AHEAD]
        again, ahead = made(40, 40)
        assert again == places
        ready = [len(set(a) & set(places[i : i + AHEAD])) for i, a in enumerate(ahead[:-AHEAD])]
        assert np.mean(ready) > 0.7 * AHEAD
