"""Groups of many examples, in calls from threads: what one program of all groups answers.

Inside a user's jit all groups are one program: so that is what to compare with.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import select_coreset, select_subset
from gradmatch_jax.gradients import LastLayerGradients, matching_error
from gradmatch_jax.selection import coreset, matching, padding, rounds
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.rounds import in_rounds, map_rounds

N, CLASSES = 151, 5
KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def pools(monkeypatch):
    """Any number of examples is many, and there are two cores: how many threads were asked for."""
    asked = []

    def pool(workers):
        asked.append(workers)
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(padding, "MUCH", 0)
    monkeypatch.setattr(rounds, "cores", lambda: 2)
    monkeypatch.setattr(rounds, "ThreadPoolExecutor", pool)
    return asked


def problem(n=N, classes=CLASSES, dtype=jnp.float32):
    rng = np.random.default_rng(n)
    sides = rng.normal(size=(n, CLASSES)), np.abs(rng.normal(size=(n, 6)))
    labels = rng.integers(0, classes, n)
    return LastLayerGradients(*(jnp.asarray(x, dtype) for x in sides)), labels


def assert_alike(found, wanted):
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=1e-4)
    np.testing.assert_allclose(found.matching_error, wanted.matching_error, rtol=1e-4)
    for name in ("size", "num_matched", "stops"):  # inside jit lam, and so the form, is not known
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"approximation": "per_gradient"},
        {"form": "features", "fill": "calibrated"},
        {"form": "support", "fill": "steady"},
        {"form": "gram", "fill": "none", "nonnegative": False, "lam": 5.0},
        {"eps": 1e6},
    ],
    ids=str,
)
@pytest.mark.parametrize("own_target", [False, True])
def test_matching(options, own_target, pools):
    gradients, labels = problem()
    targets = np.random.default_rng(0).normal(size=(CLASSES, CLASSES, 7)).astype(np.float32)
    if "approximation" in options:
        targets = targets[:, :1]
    target = 20 * targets if own_target else None

    def chosen(gradients, labels):
        return select_subset(gradients, 40, labels=labels, key=KEY, target=target, **options)

    wanted = jax.jit(chosen)(gradients, partition(labels, 40, CLASSES))
    assert_alike(chosen(gradients, labels), wanted)
    assert pools == ([2, 2] if options.get("fill") == "calibrated" else [2])


@pytest.mark.parametrize("spread", [0, 4])
def test_uneven_weights_are_calibrated_in_rounds(spread, pools):
    gradients, labels = problem()
    norms = np.exp(spread * np.random.default_rng(5).normal(size=(N, 1)))
    gradients = gradients._replace(residuals=gradients.residuals * jnp.asarray(norms, jnp.float32))

    def chosen(fill, labels):
        options = {"lam": 0.01, "lam_scale": "relative", "fill": fill}
        return select_subset(gradients, 60, labels=labels, key=KEY, **options)

    found = chosen("steady", labels)
    assert pools == ([2, 2] if spread else [2])  # the others are not so much as computed
    wanted = chosen("calibrated" if spread else "random", labels)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.weights, wanted.weights)
    in_one = jax.jit(lambda groups: chosen("steady", groups))(partition(labels, 60, CLASSES))
    assert_alike(found, in_one)


def test_coreset(pools):
    gradients, labels = problem()
    groups = partition(labels, 40, CLASSES)
    wanted = jax.jit(lambda g, y: select_coreset(g, 40, labels=y))(gradients, groups)
    assert_alike(select_coreset(gradients, 40, labels=labels), wanted)
    assert pools == [2]


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_threads_and_groups_a_call(at_once, workers, monkeypatch, pools):
    gradients, labels = problem()
    labels = np.where(labels == 1, 3, labels)  # a class of none
    wanted = select_subset(gradients, 40, labels=labels, key=KEY)
    monkeypatch.setattr(rounds, "cores", lambda: workers)
    monkeypatch.setattr(matching, "groups_at_once", lambda *args: at_once)
    monkeypatch.setattr(coreset, "_groups_at_once", lambda groups: at_once)
    assert_alike(select_subset(gradients, 40, labels=labels, key=KEY), wanted)
    assert int(select_coreset(gradients, 40, labels=labels).size) == 40
    at_once = min(at_once, -(-CLASSES // workers))
    assert pools[-2:] == 2 * [min(workers, -(-CLASSES // at_once))]


def test_no_more_threads_than_memory_for_their_problems(monkeypatch, pools):
    gradients, labels = problem()
    monkeypatch.setattr(rounds, "LARGEST", 1)
    select_subset(gradients, 40, labels=labels, key=KEY)
    assert pools == [1]


def test_halves_are_widened_a_group_at_a_time():
    half, labels = problem(dtype=jnp.bfloat16)
    widened = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    found = select_subset(half, 40, labels=labels, key=KEY)
    assert_alike(found, select_subset(widened, 40, labels=labels, key=KEY))
    assert found.weights.dtype == jnp.float32


def test_sixty_four_bits_of_this_thread_alone():
    """The threads that solve were not told of them."""
    gradients, labels = problem()
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), gradients)
        found = select_subset(wide, 40, labels=labels, key=KEY, lam=1e-9, fill="none")
        error = matching_error(wide, found.indices, found.weights)
        assert found.weights.dtype == jnp.float64
        assert error.dtype == jnp.float64
    assert found.weights.dtype == np.float64


def test_calls_are_from_as_many_threads_as_there_are_cores():
    gradients, labels = problem()
    groups = partition(labels, 40, CLASSES)
    seen = set()

    class Program:
        def lower(self, *args, **static):
            return self

        def compile(self):
            return self

        def __call__(self, members, each, rows):
            seen.add(get_ident())
            return members, each[0]

    members, budgets = map_rounds(Program(), groups, 2, 1, gradients)
    np.testing.assert_array_equal(members.reshape(6, -1)[:5], groups.members)
    np.testing.assert_array_equal(budgets.ravel(), [*np.asarray(groups.budgets), 0])
    assert 1 <= len(seen) <= 2
    assert get_ident() not in seen


def test_an_error_in_a_thread_is_an_error_here():
    gradients, labels = problem()

    class Program:
        def lower(self, *args, **static):
            return self

        def compile(self):
            return self

        def __call__(self, *args):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        map_rounds(Program(), partition(labels, 40), 1, 1, gradients)


def test_other_classes_and_examples_compile_no_solver():
    """Of as many members, or a few more, as the largest class has."""
    programs = []

    def solver(n, classes):
        gradients, _ = problem(n)
        labels = np.arange(n) % classes
        groups = partition(labels, 8 * classes)
        groups = groups.padded(classes, 40)
        rows = gradients, jnp.zeros(n)
        program = Spy(matching._solve_round, programs)
        map_rounds(
            program, groups, 1, 1, rows, None, (matching.MatchingOptions(lam=0.5),),
            slots=16, form=matching.Form.FEATURES,
        )  # fmt: skip

    for n, classes in ((151, 5), (160, 5), (120, 4), (99, 3)):
        solver(n, classes)
    assert len(programs) == 4
    assert all(program is programs[0] for program in programs)


class Spy:
    """A jitted function that notes the programs that it was compiled to."""

    def __init__(self, program, found):
        self.program, self.found = program, found

    def lower(self, *args, **static):
        self.lowered = self.program.lower(*args, **static)
        return self

    def compile(self):
        compiled = self.lowered.compile()
        self.found.append(compiled._executable)
        return compiled


def test_only_many_examples_of_several_groups_on_one_cpu(monkeypatch):
    gradients, labels = problem()
    groups = partition(labels, 40)
    assert in_rounds(None, gradients, groups)
    assert not in_rounds(None, gradients, partition(0 * labels, 40))
    assert not jax.jit(lambda g: jnp.asarray(in_rounds(None, g, groups)))(gradients)
    with jax.disable_jit():
        assert not in_rounds(None, gradients, groups)
    for owner, name, value in ((rounds, "cores", lambda: 1), (padding, "MUCH", 2**24)):
        with monkeypatch.context() as other:
            other.setattr(owner, name, value)
            assert not in_rounds(None, gradients, groups)
