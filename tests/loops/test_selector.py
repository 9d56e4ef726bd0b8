"""`Selector`: every strategy in a loop that is not ours, and the same from a checkpoint."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import Selector, Strategy, stateless, unweighted
from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies import STRATEGIES
from gradmatch_jax.strategies.baselines import random
from gradmatch_jax.training.keys import first_keys
from toys import linear, mostly_long, toy, toy_dataset

N, CLASSES, HELD = 60, 3, 24
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, N)
HELD_LABELS = np.arange(HELD) % CLASSES


class Network:
    """Passes of a made-up network that changes, and how often it was asked."""

    def __init__(self):
        self.calls, self.epoch = 0, 0

    def of(self, count, salt):
        def look(rows=None):
            self.calls += 1
            rng = np.random.default_rng([self.epoch, salt])
            logits, features = rng.normal(size=(count, CLASSES)), rng.normal(size=(count, 4))
            part = slice(None) if rows is None else rows
            return logits[part].astype(np.float32), features[part].astype(np.float32)

        return look

    def norms(self, rows=None):
        self.calls += 1
        return np.random.default_rng(self.epoch).gamma(1.0, size=N).astype(np.float32)

    def passes(self):
        return (self.of(N, 1),), {
            "validation": self.of(HELD, 2),
            "gradient_norms": self.norms,
        }


def selector_of(name, **settings):
    held = HELD_LABELS if name == "glister" else None
    given = {"fraction": 0.2, "labels": LABELS, "every": 2, "epochs": 8, "seed": 3,
             "validation_labels": held}  # fmt: skip
    if STRATEGIES[name].regime.scored:
        given["proxy_epochs"] = 2
    return Selector(name, **given | settings)


def epochs_of(selector, count, start=0):
    """Rows and weights of epochs, and what is observed of each."""
    network, found = Network(), []
    for epoch in range(start, count):
        network.epoch = epoch
        args, kwargs = network.passes()
        rows, weights = selector(epoch, *args, **kwargs)
        logits = np.random.default_rng([epoch, 9]).normal(size=(N, CLASSES)).astype(np.float32)
        selector.observe(rows[::2], logits=logits[rows[::2]])
        selector.observe(rows[1::2], logits=logits[rows[1::2]])
        found.append((rows, weights, network.calls))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy(name):
    selector, regime = selector_of(name), STRATEGIES[name].regime
    for rows, weights, _ in epochs_of(selector, selector.epochs):
        assert rows.dtype == np.int64
        assert weights.dtype == np.float32
        assert rows.shape == weights.shape
        assert rows.flags.writeable
        assert weights.flags.writeable
        assert len(np.unique(rows)) == len(rows)
        if regime.budgeted and regime.subsets and len(rows) < N:
            assert len(rows) == 12
        if selector.weighting != "none":
            assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert selector.epochs == {
        "full-earlystop": 2, "full-earlystop-fitted": 2,
    }.get(name, 10 if regime.scored else 8)  # fmt: skip


@pytest.mark.thorough
def test_a_pass_is_made_only_when_a_selection_is_due():
    calls = [calls for _, _, calls in epochs_of(selector_of("gradmatch", every=3), 8)]
    assert calls == [1, 1, 1, 2, 2, 2, 3, 3]


def test_the_same_epoch_again_gives_the_same_and_arrays_are_the_callers_own():
    selector = selector_of("adaptive-random")
    rows, weights = selector(0)
    kept = rows.copy()
    rows[:], weights[:] = -5, 7
    np.testing.assert_array_equal(selector(0)[0], kept)
    assert not np.array_equal(selector(1)[0], kept)
    with pytest.raises(UserError, match="go forward"):
        selector(0)


@pytest.mark.thorough
def test_warm_plan_begins_with_everything():
    selector = Selector("gradmatch-warm", fraction=0.2, labels=LABELS, epochs=10, every=2)
    assert selector.epochs == 6  # T_s = 5 on subsets after T_f = 1
    sizes = [len(rows) for rows, *_ in epochs_of(selector, 6)]
    assert sizes == [60, 12, 12, 12, 12, 12]
    with pytest.raises(UserError, match="past the plan"):
        selector(6)


@pytest.mark.thorough
def test_draws_are_those_of_train(tmp_path):
    toy(tmp_path / "run", strategy="adaptive-random", seed=5)
    history = np.load(tmp_path / "run" / "selection.npz")
    selector = Selector("adaptive-random", fraction=0.2, labels=toy_dataset().train.labels, seed=5)
    for epoch in range(5):
        expected = history["history_indices"][history["history_epochs"] == epoch]
        np.testing.assert_array_equal(selector(epoch)[0], expected)


@pytest.mark.thorough
@pytest.mark.parametrize("name", mostly_long(["gradmatch", "gradmatch-pb", "craig"], "gradmatch"))
def test_the_first_selection_is_that_of_train(tmp_path, name):
    """Of the same network on the same data by the same seed: choice for choice."""
    toy(tmp_path / "run", strategy=name, seed=5, epochs=1)
    expected = np.load(tmp_path / "run" / "selection.npz")
    data, model = toy_dataset(), linear()
    variables = model.init(first_keys(jax.random.key(5))[0])

    def forward():
        return model.apply(variables, data.prepare(None, jnp.asarray(data.train.inputs)), False)[:2]

    batch = {"batch_size": 5} if name == "gradmatch-pb" else {}
    selector = Selector(name, fraction=0.2, labels=data.train.labels, seed=5, **batch)
    rows, weights = selector(0, forward)
    np.testing.assert_array_equal(rows, expected["indices"])
    scaled = expected["weights"] / expected["weights"].mean()
    np.testing.assert_allclose(weights, scaled, rtol=1e-4)


def through_npz(state):
    box = io.BytesIO()
    np.savez(box, **state)
    box.seek(0)
    return np.load(box, allow_pickle=False)


def through_json(state):
    return json.loads(json.dumps({name: array.tolist() for name, array in state.items()}))


@pytest.mark.thorough
@pytest.mark.parametrize("through", [through_npz, through_json, lambda state: state])
@pytest.mark.parametrize("name", ["gradmatch-pb", "adaptive-random", "infobatch", "forgetting"])
def test_resumes_to_the_last_bit(name, through):
    whole = epochs_of(selector_of(name), 8)
    first = selector_of(name)
    epochs_of(first, 3)
    again = selector_of(name).restore(through(first.state()))
    for (rows, weights, _), (expected, wanted, _) in zip(
        epochs_of(again, 8, start=3), whole[3:], strict=True
    ):
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(weights, wanted)


@pytest.mark.thorough
def test_a_pool_is_what_forward_is_asked_for():
    asked = []

    def forward(rows):
        asked.append(rows)
        return Network().of(N, 1)(rows)

    selector = Selector("gradmatch", fraction=0.1, pool=0.5, labels=LABELS, every=1)
    for epoch in range(2):
        rows, _ = selector(epoch, forward)
        assert set(rows) <= set(asked[epoch])
        assert len(asked[epoch]) == 30
    assert set(asked[0]) != set(asked[1])


@pytest.mark.thorough
def test_glister_and_validation_targets_read_the_validation_set():
    args, kwargs = Network().passes()
    selector = Selector(
        "gradmatch", fraction=0.2, labels=LABELS, validation_labels=HELD_LABELS,
        validation_target=True,
    )  # fmt: skip
    rows, _ = selector(0, *args, **kwargs)
    assert len(rows) == 12
    with pytest.raises(UserError, match="validation_labels"):
        Selector("glister", fraction=0.2, labels=LABELS)
    with pytest.raises(UserError, match="pass validation="):
        selector_of("glister")(0, *args)


def test_a_strategy_of_ones_own():
    selector = Selector(lambda task: random(task), budget=7, labels=LABELS)
    assert len(selector(0)[0]) == 7


def test_a_pass_unpacks_as_it_does_in_train():
    """Three parts, whatever the loss; and it passes through jit with its own gradients."""

    def hardest(task):
        def select(state, snapshot, key):
            logits, _, labels = snapshot.train
            through = jax.jit(lambda snapshot: snapshot)(snapshot).train.gradients
            np.testing.assert_array_equal(through.residuals, snapshot.train.gradients.residuals)
            own = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
            return unweighted(jnp.argsort(-own)[: task.budget]), state

        return Strategy(stateless, select, needs=("train",))

    args, _ = Network().passes()
    rows, _ = Selector(hardest, budget=5, labels=LABELS, label_smoothing=0.1)(0, *args)
    logits = args[0]()[0]
    own = logits[np.arange(N), LABELS] - np.log(np.exp(logits).sum(axis=1))
    assert set(rows) == set(np.argsort(own)[:5])


def made(n, width=5):
    return lambda: (np.zeros((n, CLASSES)), np.ones((n, width)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Selector("gradmtch", fraction=0.1, labels=LABELS), "Did you mean 'gradmatch'"),
        (lambda: Selector(fraction=0.1, labels=LABELS, lamda=1), "Did you mean 'lam'"),
        (lambda: Selector(fraction=0.1, labels=LABELS, greedy="naive"), "greedy does not apply"),
        (lambda: Selector(fraction=0.1, labels=LABELS, lam=-1.0), "lam must be"),
        (lambda: Selector(labels=LABELS), "fraction="),
        (lambda: Selector(fraction=0.1, labels=LABELS + 0.5), "labels must be integers"),
        (lambda: Selector("random-warm", fraction=0.1, labels=LABELS), "needs epochs=T"),
        (lambda: Selector("full-earlystop", fraction=0.1, labels=LABELS), "needs epochs=T"),
        (lambda: Selector("full", labels=LABELS, warm=True, epochs=3), "no warm start"),
        (lambda: Selector("random", fraction=0.1, labels=LABELS, pool=0.5), "reads no pass"),
        (lambda: Selector(fraction=0.1, labels=LABELS, every=0), "every must be 1 or more"),
        (lambda: Selector("glister", fraction=0.1, labels=LABELS, loss="mse"), "probabilities"),
        (lambda: Selector(fraction=0.1, labels=LABELS, loss="mes"), "Did you mean 'mse'"),
        (lambda: Selector(fraction=0.1, labels=LABELS, weighting="bath"), "Did you mean 'batch'"),
        (lambda: Selector("full", labels=LABELS, weighting="batch"), "weighting does not apply"),
        (lambda: Selector(fraction=0.1, labels=LABELS)(0), "pass forward="),
        (lambda: Selector(fraction=0.1, labels=LABELS)(0, 3), "pass forward="),
        (lambda: Selector(fraction=0.1, labels=LABELS)(0, lambda: 3), "return \\(logits, features"),
        (lambda: Selector(fraction=0.1, labels=LABELS)(0, made(50)), "60 of each are wanted"),
        (lambda: Selector(fraction=0.1, labels=LABELS)(0, lambda: made(60)()[::-1]), "that order"),
        (lambda: Selector(fraction=0.1, labels=LABELS)(-1, made(60)), "epoch must be 0 or more"),
        (lambda: Selector("infobatch", labels=LABELS).observe([0], loss=[1.0]), "'losses'"),
        (lambda: Selector("infobatch", labels=LABELS).observe([0, 1], losses=[1.0]), "2 rows"),
        (lambda: Selector("random", budget=3, labels=LABELS).restore({}), "state is of nothing"),
        (lambda: Selector("random", budget=3, labels=LABELS).restore(4), "state must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_strategy_that_watches_says_when_it_is_told_nothing():
    selector = Selector("infobatch", labels=LABELS)
    selector(0)
    with pytest.raises(UserError, match="losses"):
        selector(1)


def test_a_damaged_state_is_refused():
    selector = selector_of("adaptive-random")
    selector(0)
    state = selector.state()
    del state["strategy/0"]
    with pytest.raises(UserError, match="strategy/0"):
        selector_of("adaptive-random").restore(state)
    with pytest.raises(UserError, match="seed 3"):
        selector_of("adaptive-random", seed=4).restore(selector.state())


def test_a_budget_beyond_all_examples_is_all_of_them():
    """In the plan of a warm start too, whose full epochs are a share of k / n."""
    for budget in (N, 2 * N):
        selector = Selector("random", budget=budget, labels=LABELS, warm=True, epochs=10)
        assert (selector.epochs, selector.budget, selector.expects(9)) == (10, N, N)
        assert len(selector(9)[0]) == N
