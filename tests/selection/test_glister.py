"""GLISTER against the exact validation loss, autodiff, and a dense NumPy reference."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from gradmatch_jax.data.digits import read_digits
from gradmatch_jax.errors import UserError
from gradmatch_jax.gradients import LastLayerGradients, correlations, densify
from gradmatch_jax.measure.clock import compile_seconds
from gradmatch_jax.selection.glister import Validation, glister, gradient_after_step
from gradmatch_jax.strategies import build_strategy
from gradmatch_jax.strategies.task import Pass, Snapshot, Task
from plain_glister import Dense, dense_glister, exhaustive
from toys import key_list, mostly_long, spoiled

CASES = [(20, 0.03, 1), (20, 0.1, 2), (20, 0.35, 7), (20, 1.0, 20), (60, 0.1, 6), (100, 0.25, 15)]


def problem_of(train: Pass, validation: Pass):
    """(gradients, Validation, the same densely in float64)."""
    gradients = LastLayerGradients(*(jnp.asarray(x, jnp.float32) for x in train.gradients))
    with jax.enable_x64(True):
        atoms = np.asarray(densify(jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), gradients)))
    logits, features = (np.asarray(x, np.float64) for x in validation[:2])
    dense = Dense(atoms, logits, features, np.asarray(validation[2]))
    return gradients, Validation(*validation), dense


def made_up(n=60, m=40, classes=4, width=5, seed=0):
    """Logits that know a little of the labels; features that do too."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))

    def look(size):
        labels = rng.integers(0, classes, size=size)
        features = centres[labels] + rng.normal(size=(size, width))
        logits = 0.5 * features @ centres.T + 0.5 * rng.normal(size=(size, classes))
        to = [jnp.asarray(x, jnp.float32) for x in (logits, features)]
        return Pass(*to, jnp.asarray(labels, jnp.int32))

    return problem_of(look(n), look(m))


@pytest.fixture(scope="module")
def digits():
    """Softmax regression on digits after 30 steps: 600 examples to choose from, 300 held out."""
    split = read_digits().train
    x = split.inputs.reshape(len(split), -1)[:900].astype(np.float64) / 255.0
    y = np.asarray(split.labels)[:900]
    weights = np.zeros((64, 10))
    for _ in range(30):
        residuals = softmax(x[:600] @ weights, axis=1) - np.eye(10)[y[:600]]
        weights -= 0.1 * x[:600].T @ residuals / 600
    to = [jnp.asarray(v, jnp.float32) for v in (x @ weights, x)]
    both = Pass(*to, jnp.asarray(y, jnp.int32))
    return problem_of(Pass(*(v[:600] for v in both)), Pass(*(v[600:] for v in both)))


def check(selection, n, budget):
    k = min(n, budget)
    indices, weights = np.asarray(selection.indices), np.asarray(selection.weights)
    assert indices.shape == weights.shape == (budget,)
    assert indices.dtype == np.int32
    assert int(selection.size) == int(selection.num_matched) == k
    assert np.isnan(selection.matching_error)
    assert len(set(indices[:k].tolist())) == k
    assert np.all((indices[:k] >= 0) & (indices[:k] < n))
    assert np.all(indices[k:] == -1)
    assert weights.tolist() == [1.0] * k + [0.0] * (budget - k)
    return indices[:k].tolist()


@pytest.mark.thorough
@pytest.mark.parametrize("eta", [0.0, 0.01, 1.0])
def test_gradient_after_step_is_the_derivative_of_the_validation_loss(eta):
    """By autodiff of the loss in the last layer's parameters, at the place the step leads to."""
    _, validation, dense = made_up()
    moved = jnp.asarray(dense.atoms[:7].sum(0).reshape(4, 6), jnp.float32)

    def loss(layer):  # layer: what is added to theta
        logits = validation.logits + validation.features @ layer[:, 1:].T + layer[None, :, 0]
        log_p = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(log_p, validation.labels[:, None], axis=1))

    found = gradient_after_step(validation, eta, moved)
    np.testing.assert_allclose(found, jax.grad(loss)(-eta * moved), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.ravel(found), dense.gradient(range(7), eta), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chosen", [[], [3, 8, 21, 40]])
def test_taylor_gain_is_the_loss_decrease_to_first_order(chosen):
    """decrease / (eta <g_e, G(S)>) -> 1, its distance from 1 in proportion to eta."""
    gradients, validation, dense = made_up()
    moved = jnp.asarray(dense.atoms[chosen].sum(0).reshape(4, 6), jnp.float32)
    distances = []
    for eta in (1e-3, 1e-4, 1e-5):
        gains = np.asarray(correlations(gradients, gradient_after_step(validation, eta, moved)))
        before = dense.loss(chosen, eta)
        exact = np.array([before - dense.loss([*chosen, e], eta) for e in range(60)])
        large = np.abs(gains) > 0.2 * np.abs(gains).max()
        assert large.sum() > 10
        distances.append(np.abs(exact / (eta * gains) - 1)[large].max())
    assert distances[2] < 1e-3
    assert distances[0] > 5 * distances[1] > 25 * distances[2]


def test_a_small_step_picks_what_exhaustive_search_picks():
    gradients, validation, dense = made_up()
    found = check(glister(gradients, validation, 12, eta=1e-4, greedy="naive"), 60, 12)
    assert found == exhaustive(dense, 12, 1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_larger_step_comes_close_to_exhaustive_search(seed):
    """At eta = 0.02 the loss curves over a step, and the twelve lower it by 3 % to 26 %."""
    gradients, validation, dense = made_up(seed=seed)
    eta, start = 0.02, dense.loss([], 0.02)
    found = check(glister(gradients, validation, 12, eta=eta, greedy="naive"), 60, 12)
    best = exhaustive(dense, 12, eta)
    gained, most = start - dense.loss(found, eta), start - dense.loss(best, eta)
    assert most > 0.02 * start, "the steps must matter"
    assert gained > 0.98 * most
    assert len(set(found) & set(best)) >= 10


@pytest.mark.parametrize("case", mostly_long(CASES, CASES[1], CASES[5]))
@pytest.mark.parametrize("eta", [0.01, 0.5])
def test_picks_are_the_dense_references(case, eta):
    (budget, refresh, at_once), (gradients, validation, dense) = case, made_up(seed=3)
    found = check(glister(gradients, validation, budget, eta=eta, refresh=refresh), 60, budget)
    assert found == dense_glister(dense, min(budget, 60), eta, at_once)


def test_share_that_is_a_whole_number_of_picks_is_not_rounded_up():
    """0.07 · 100 is 7.000000000000001 in floating point."""
    gradients, validation, dense = made_up(n=120, seed=5)
    assert math.ceil(0.07 * 100) == 8
    found = check(glister(gradients, validation, 100, eta=0.5, refresh=0.07), 120, 100)
    assert found == dense_glister(dense, 100, 0.5, 7)
    assert found != dense_glister(dense, 100, 0.5, 8)


def test_one_at_a_time_is_naive():
    gradients, validation, dense = made_up(seed=4)
    naive = check(glister(gradients, validation, 20, eta=0.3, greedy="naive"), 60, 20)
    one = check(glister(gradients, validation, 20, eta=0.3, refresh=1 / 20), 60, 20)
    at_once = check(glister(gradients, validation, 20, eta=0.3, refresh=1.0), 60, 20)
    assert one == naive == dense_glister(dense, 20, 0.3, 1)
    assert at_once != naive, "without refreshing, the step so far is not seen"


@pytest.mark.thorough
@pytest.mark.parametrize("greedy", ["taylor", "naive", "stochastic"])
def test_digits(digits, greedy):
    """Each greedy lowers the exact validation loss twice as much as the best of 20 random draws."""
    gradients, validation, dense = digits
    eta, k = 0.1, 60
    start = dense.loss([], eta)
    selection = glister(gradients, validation, k, eta=eta, greedy=greedy, key=jax.random.key(1))
    found = check(selection, 600, k)
    rng = np.random.default_rng(0)
    random = [start - dense.loss(rng.choice(600, k, replace=False), eta) for _ in range(20)]
    gained = start - dense.loss(found, eta)
    assert gained > 2 * max(random)
    at_once = {"taylor": 2, "naive": 1}.get(greedy)
    if at_once:
        expected = dense_glister(dense, k, eta, at_once)
        assert len(set(found) & set(expected)) >= 0.95 * k, "float32 may turn a near tie"
        assert gained == pytest.approx(start - dense.loss(expected, eta), rel=1e-3)


@pytest.mark.thorough
def test_refreshing_keeps_a_large_step_from_passing_the_minimum(digits):
    """The sum of 60 gradients at eta = 0.01: without refreshing the loss ends above its start.

    The module's remark on large k: a gain is of one example more, not of sixty.
    """
    gradients, validation, dense = digits
    eta, k = 0.01, 60
    start = dense.loss([], eta)
    found = check(glister(gradients, validation, k, eta=eta), 600, k)
    blind = check(glister(gradients, validation, k, eta=eta, refresh=1.0), 600, k)
    assert dense.loss(found, eta) < 0.95 * start < 1.3 * start < dense.loss(blind, eta)


@pytest.mark.thorough
def test_stochastic_is_close_to_naive_on_average(digits):
    """Mirzasoleiman et al. 2015: within epsilon of the greedy's guarantee, in expectation."""
    gradients, validation, dense = digits
    eta, k = 0.01, 60
    start = dense.loss([], eta)
    naive = check(glister(gradients, validation, k, eta=eta, greedy="naive"), 600, k)
    draws = [
        check(glister(gradients, validation, k, eta=eta, greedy="stochastic", key=key), 600, k)
        for key in key_list(0, 10)
    ]
    gained = np.mean([start - dense.loss(s, eta) for s in draws])
    assert 0.9 * (start - dense.loss(naive, eta)) < gained
    assert len({tuple(sorted(s)) for s in draws}) == 10, "the key draws the samples"


def test_stochastic_to_the_last_example_and_with_a_large_sample():
    gradients, validation, _ = made_up()
    every = glister(gradients, validation, 60, eta=0.1, greedy="stochastic")
    assert sorted(check(every, 60, 60)) == list(range(60))
    # k = 4: a sample would be of ceil(15 log 100) = 70 of 60.
    few = check(glister(gradients, validation, 4, eta=0.1, greedy="stochastic"), 60, 4)
    assert few == check(glister(gradients, validation, 4, eta=0.1, greedy="naive"), 60, 4)


@pytest.mark.thorough
@pytest.mark.parametrize("greedy", ["taylor", "naive", "stochastic"])
def test_budgets_at_the_edge(greedy):
    gradients, validation, _ = made_up(n=7)
    for budget in (0, 1, 7, 9):
        check(glister(gradients, validation, budget, eta=0.1, greedy=greedy), 7, budget)


def test_zero_gradients_and_duplicates():
    """Everyday input late in training: an exact budget, and what lowers the loss first."""
    (some, features), validation, _ = made_up(n=10)
    residuals = jnp.concatenate([jnp.zeros_like(some), some, some])
    both = LastLayerGradients(residuals, jnp.concatenate([features] * 3))
    found = check(glister(both, validation, 25, eta=1e-4, greedy="naive"), 30, 25)
    target = gradient_after_step(validation, 0.0, jnp.zeros((4, 6), jnp.float32))
    gains = np.asarray(correlations(both, target))[found]
    assert np.all(np.diff(gains) < 1e-3), "at a small step the gains come in order"


@pytest.mark.thorough
def test_one_compilation_serves_every_eta_and_key(digits):
    gradients, validation, _ = digits
    for greedy in ("taylor", "stochastic"):
        glister(gradients, validation, 33, eta=0.1, greedy=greedy, key=jax.random.key(1))
        key = jax.random.key(2)
        with compile_seconds() as read:
            glister(gradients, validation, 33, eta=0.2, greedy=greedy, key=key)
        assert read() == 0.0


def test_under_jit():
    gradients, validation, _ = made_up()
    plain = glister(gradients, validation, 9, eta=0.1).indices
    traced = jax.jit(lambda *given: glister(*given[:2], 9, eta=given[2]).indices)
    assert traced(gradients, validation, 0.1).tolist() == plain.tolist()


def test_strategy_hands_on_its_options():
    gradients, validation, _ = made_up()
    rng = np.random.default_rng(7)
    labels = jnp.asarray(rng.integers(0, 4, 60), jnp.int32)
    train = Pass(jnp.asarray(rng.normal(size=(60, 4)), jnp.float32), gradients.features, labels)
    snapshot, key = Snapshot(train, Pass(*validation)), jax.random.key(3)
    for greedy in ("taylor", "naive", "stochastic"):
        settings = {"lr": 0.4, "greedy": greedy, "refresh": 0.3}
        strategy = build_strategy("glister", Task(np.asarray(labels), 4, 15), settings)
        found, _ = strategy.select({}, snapshot, key)
        expected = glister(
            train.gradients, validation, 15, eta=0.4, greedy=greedy, refresh=0.3, key=key
        )
        assert found.indices.tolist() == expected.indices.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": -1}, "budget must be 0 or more"),
        ({"eta": -0.1}, "eta must be 0 or more"),
        ({"eta": math.nan}, "eta must be 0 or more"),
        ({"greedy": "lazy"}, "no greedy named .* there are taylor, naive, stochastic"),
        ({"refresh": 0.0}, "refresh must be above 0"),
        ({"refresh": 1.5}, "refresh must be above 0"),
    ],
)
def test_bad_arguments(change, message):
    gradients, validation, _ = made_up(n=7)
    with pytest.raises(UserError, match=message) as error:
        glister(gradients, validation, **{"budget": 3, "eta": 0.1, **change})
    assert "\n" not in str(error.value)


def test_bad_validation_sets():
    gradients, validation, _ = made_up(n=7)
    empty = Validation(*(x[:0] for x in validation))
    narrow = validation._replace(features=validation.features[:, :3])
    broken = validation._replace(logits=spoiled(validation.logits, 2, 1))
    for bad, message in [
        (empty, "this one is empty"),
        (narrow, r"are \(4, 3\) wide, the training ones \(4, 5\)"),
        (validation._replace(labels=validation.labels[:3]), "3 validation labels, 40 rows"),
        (broken, "hold nan or inf"),
    ]:
        with pytest.raises(UserError, match=message):
            glister(gradients, bad, 3, eta=0.1)
