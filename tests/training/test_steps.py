"""The SGD step against PyTorch's rule, the weighted loss, and epochs of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax.data import Split
from gradmatch_jax.models.model import Variables
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.passes import run_epoch
from gradmatch_jax.training.schedule import Batching
from gradmatch_jax.training.steps import Learner, Outcome, weighted_loss
from linear_problem import CLASSES, N, apply, inputs, linear_data, linear_steps
from toys import Stream, needs_grain

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


@pytest.fixture(scope="module")
def data():
    return linear_data()


@pytest.fixture(scope="module")
def steps(data):
    return linear_steps(data, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


class NumpySGD:
    """torch.optim.SGD(momentum, weight_decay) on the linear model, in float64."""

    def __init__(self, params):
        self.p = {k: np.asarray(v, np.float64) for k, v in params.items()}
        self.v = {k: np.zeros_like(v) for k, v in self.p.items()}

    def step(self, x, y, w, lr):
        logits = x @ self.p["W"] + self.p["b"]
        probability = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability /= probability.sum(axis=1, keepdims=True)
        loss = np.mean(-w * np.log(probability[np.arange(len(y)), y]))
        delta = (probability - np.eye(CLASSES)[y]) * w[:, None] / len(y)
        for name, gradient in (("W", x.T @ delta), ("b", delta.sum(axis=0))):
            decayed = gradient + WEIGHT_DECAY * self.p[name]
            self.v[name] = MOMENTUM * self.v[name] + decayed
            self.p[name] = self.p[name] - lr * self.v[name]
        return loss


PLAN = [  # rows, weights, lr: the rate changes, the batches have two sizes
    ([0, 5, 9, 2], [1.0, 0.5, 3.0, 0.0], 0.5),
    ([1, 3, 22, 7], [0.2, 1.0, 1.0, 2.0], 0.1),
    ([4, 8, 11], [1.5, 1.0, 0.5], 0.02),
    ([4, 6, 10, 12], [1.0, 1.0, 1.0, 1.0], 0.3),
]


def test_step_follows_torchs_recurrence(steps, data):
    learner = steps.init(jax.random.key(0))
    reference = NumpySGD(learner.variables.params)
    pool, labels = jnp.asarray(data.train.inputs), data.train.labels
    for rows, weights, lr in PLAN:
        w = np.array(weights, np.float32)
        i = np.array(rows, np.int32)
        before = learner.variables
        logits = np.asarray(apply(before, inputs(data.train.inputs[i]), False)[0])
        learner, outcome = steps.train(learner, pool, labels[i], i, w, lr, jax.random.key(1), 0)
        loss = outcome.loss
        recorded = outcome.recorded
        np.testing.assert_array_equal(recorded["correct"], logits.argmax(axis=1) == labels[i])
        np.testing.assert_allclose(np.mean(w * np.asarray(recorded["losses"])), loss, rtol=1e-6)
        expected = reference.step(inputs(data.train.inputs[i]), labels[i], w, lr)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        for name, value in reference.p.items():
            found = learner.variables.params[name]
            np.testing.assert_allclose(found, value, rtol=2e-5, atol=1e-6)
    assert learner.variables.stats["seen"] == sum(len(rows) for rows, _, _ in PLAN)


@pytest.mark.thorough
def test_reference_is_torchs(steps, data):
    torch = pytest.importorskip("torch")
    params = steps.init(jax.random.key(0)).variables.params
    reference = NumpySGD(params)
    p = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in params.items()}
    sgd = torch.optim.SGD(p.values(), lr=1.0, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    for rows, weights, lr in PLAN:
        x, y, w = inputs(data.train.inputs[rows]), data.train.labels[rows], np.array(weights)
        sgd.param_groups[0]["lr"] = lr
        logits = torch.tensor(x, dtype=torch.float32) @ p["W"] + p["b"]
        target = torch.tensor(y, dtype=torch.long)
        losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        sgd.zero_grad()
        torch.mean(torch.tensor(w) * losses).backward()
        sgd.step()
        reference.step(x, y, w, lr)
    for name, value in reference.p.items():
        np.testing.assert_allclose(p[name].detach().numpy(), value, rtol=1e-5, atol=1e-6)


def test_adamw_is_torchs(data):
    torch = pytest.importorskip("torch")
    steps = linear_steps(data, weight_decay=WEIGHT_DECAY, optimizer="adamw")
    learner = steps.init(jax.random.key(0))
    p = {
        k: torch.tensor(np.array(v), requires_grad=True)
        for k, v in learner.variables.params.items()
    }
    adamw = torch.optim.AdamW(p.values(), lr=1.0, weight_decay=WEIGHT_DECAY)
    pool, key = jnp.asarray(data.train.inputs), jax.random.key(1)
    for i, (rows, weights, lr) in enumerate(PLAN):
        rows, weights = np.array(rows), np.array(weights, np.float32)
        y = data.train.labels[rows]
        x = torch.tensor(inputs(data.train.inputs[rows]), dtype=torch.float32)
        logits, target = x @ p["W"] + p["b"], torch.tensor(y, dtype=torch.long)
        losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        adamw.param_groups[0]["lr"] = lr
        adamw.zero_grad()
        torch.mean(torch.tensor(weights) * losses).backward()
        adamw.step()
        with jax.numpy_dtype_promotion("standard"):  # optax's own Adam mixes types
            learner, _ = steps.train(learner, pool, y, rows, weights, lr, key, i)
    for name, value in learner.variables.params.items():
        np.testing.assert_allclose(value, p[name].detach().numpy(), rtol=2e-4, atol=1e-5)


def test_weighted_loss_is_the_mean_of_weight_times_loss():
    logits = jnp.asarray([[0.0, 0.0], [0.0, 0.0], [jnp.log(3.0), 0.0]])
    labels = jnp.asarray([0, 1, 1])
    weights = jnp.asarray([1.0, 3.0, 0.5])
    expected = (np.log(2) + 3 * np.log(2) + 0.5 * np.log(4)) / 3
    found = weighted_loss(logits, labels, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    doubled = weighted_loss(logits, labels, 2 * weights)
    np.testing.assert_allclose(doubled, 2 * expected, rtol=1e-6)


class Recorder:
    """Stands in for `Steps.train` and keeps what it is given."""

    def __init__(self, steps):
        self.calls = []
        self.steps = steps._replace(train=self.train)

    def train(self, learner, pool, labels, rows, weights, lr, key, i):
        self.calls.append((np.asarray(pool)[rows], labels, np.asarray(rows), weights, lr, i))
        losses = np.asarray(rows, np.float32)
        recorded = {"losses": losses, "correct": np.asarray(rows) % 2 == 0}
        return learner, Outcome(np.mean(weights * losses), recorded)


INDICES = np.array([3, 17, 5, 11, 0, 22, 8, 14, 2, 19, 6])
WEIGHTS = np.linspace(0.1, 3.0, len(INDICES))
ANY = Learner(Variables({}, {}), ())  # what the Recorder hands back as it is


@pytest.mark.parametrize("streamed", [False, True])
def test_an_epoch_visits_each_example_once_with_its_own_weight(steps, data, streamed):
    images, labels = data.train.inputs, data.train.labels
    if streamed:
        needs_grain()
    feed = Feed(Split(Stream(images), labels) if streamed else data.train)
    assert feed.resident == (not streamed)
    recorder = Recorder(steps)
    options = {"batch_size": 4, "lr": 0.25, "key": jax.random.key(3), "scan": False}
    _, loss, seen_of = run_epoch(recorder.steps, ANY, feed, INDICES, WEIGHTS, **options)
    assert [len(call[2]) for call in recorder.calls] == [4, 4, 3], "the last batch is ragged"
    assert [call[5] for call in recorder.calls] == [0, 1, 2]
    assert {call[4] for call in recorder.calls} == {0.25}
    seen = []
    for batch, batch_labels, _, weights, _, _ in recorder.calls:
        for image, label, weight in zip(batch, batch_labels, weights, strict=True):
            index = next(i for i in INDICES if np.array_equal(images[i], image))
            assert label == labels[index]
            assert weight == np.float32(WEIGHTS[INDICES.tolist().index(index)])
            seen.append(int(index))
    assert sorted(seen) == sorted(INDICES.tolist())
    assert seen != INDICES.tolist(), "the order is shuffled"
    assert seen_of.indices.tolist() == seen, "in the order they were taken"
    if not streamed:  # the recorder's losses are the rows, which a stream counts up
        assert seen_of.recorded["losses"].tolist() == seen
        assert seen_of.recorded["correct"].tolist() == [i % 2 == 0 for i in seen]
        assert loss == pytest.approx(np.mean(WEIGHTS * INDICES)), "batches count by their size"
    again, other = Recorder(steps), Recorder(steps)
    run_epoch(again.steps, ANY, feed, INDICES, WEIGHTS, **options)
    run_epoch(other.steps, ANY, feed, INDICES, WEIGHTS, **options | {"key": jax.random.key(4)})
    order = [call[1].tolist() + call[3].tolist() for call in recorder.calls]
    assert order == [call[1].tolist() + call[3].tolist() for call in again.calls]
    assert order != [call[1].tolist() + call[3].tolist() for call in other.calls]


@pytest.mark.thorough
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("augmented", [False, True])
def test_many_steps_in_a_call_are_the_loop_of_them(data, augmented, count):
    steps = linear_steps(data, augmented=augmented)
    rng = np.random.default_rng(0)
    rows = rng.permutation(N)[:20].reshape(5, 4).astype(np.int32)
    weights = rng.uniform(0, 2, (5, 4)).astype(np.float32)
    pool, labels, key = jnp.asarray(data.train.inputs), data.train.labels, jax.random.key(7)
    looped, losses, made = steps.init(jax.random.key(0)), [], 5 if count is None else count
    for i in range(made):
        looped, out = steps.train(looped, pool, labels[rows[i]], rows[i], weights[i], 0.1, key, i)
        losses.append(out.recorded["losses"])
    scanned, values = steps.train_many(
        steps.init(jax.random.key(0)), pool, jnp.asarray(labels), rows, weights, 0.1, key, 0, count
    )
    np.testing.assert_allclose(values.recorded["losses"][:made], losses, rtol=1e-6)
    assert not np.any(values.recorded["losses"][made:])
    leaves = zip(jax.tree.leaves(looped), jax.tree.leaves(scanned), strict=True)
    for a, b in leaves:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.thorough
def test_scanned_epoch_is_the_looped_epoch(data, monkeypatch):
    """In chunks of two, with a step and a ragged batch left over for the loop."""
    monkeypatch.setattr("gradmatch_jax.training.passes.SCAN", 2)
    steps = linear_steps(data, augmented=True)
    found = []
    for scan in (False, True):
        learner = steps.init(jax.random.key(0))
        found.append(
            run_epoch(
                steps, learner, Feed(data.train), INDICES, WEIGHTS, batch_size=3, lr=0.1,
                key=jax.random.key(2), scan=scan,
            )
        )  # fmt: skip
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_weights_relative_to_their_batch(steps, data):
    recorder, plain, zeros = Recorder(steps), Recorder(steps), Recorder(steps)
    options = {"batch_size": 4, "lr": 0.1, "key": jax.random.key(2), "scan": False}
    relative, feed = options | {"batching": Batching("batch")}, Feed(data.train)
    weights = np.where(np.arange(len(INDICES)) == 3, 1000.0, WEIGHTS)
    run_epoch(recorder.steps, ANY, feed, INDICES, weights, **relative)
    run_epoch(plain.steps, ANY, feed, INDICES, weights, **options)
    for (*_, found, _, _), (*_, given, _, _) in zip(recorder.calls, plain.calls, strict=True):
        np.testing.assert_allclose(found, given / given.mean(), rtol=1e-6)
    run_epoch(zeros.steps, ANY, feed, INDICES, 0 * WEIGHTS, **relative)
    assert all(np.all(call[3] == 0) for call in zeros.calls)


def test_whole_batches_only(steps, data):
    learner = steps.init(jax.random.key(0))
    options = {
        "batch_size": 4,
        "lr": 0.1,
        "key": jax.random.key(2),
        "batching": Batching(whole=True),
    }
    learner, _, seen = run_epoch(steps, learner, Feed(data.train), INDICES, WEIGHTS, **options)
    assert len(seen.indices) == len(set(seen.indices.tolist())) == 8
    assert set(seen.indices.tolist()) <= set(INDICES.tolist())
    *_, seen = run_epoch(steps, learner, Feed(data.train), INDICES[:3], WEIGHTS[:3], **options)
    assert len(seen.indices) == 3, "fewer than a batch is one batch"


def test_augmentation_differs_from_batch_to_batch(data):
    """With a rate of 0 only the loss can tell; the same key and place give the same images."""
    steps = linear_steps(data, momentum=0.0, weight_decay=0.0, augmented=True)
    pool, rows = jnp.asarray(data.train.inputs), np.arange(4, dtype=np.int32)
    labels, weights = data.train.labels[:4], np.ones(4, np.float32)
    learner, losses = steps.init(jax.random.key(0)), []
    for i in (0, 1, 2, 0):
        learner, out = steps.train(learner, pool, labels, rows, weights, 0.0, jax.random.key(7), i)
        losses.append(float(out.loss))
    assert losses[0] == losses[3]
    assert len(set(losses)) == 3


def test_changing_rate_weights_and_place_does_not_recompile(steps, data):
    from gradmatch_jax.measure.clock import compile_seconds

    feed = Feed(data.train)
    options = {"batch_size": 4, "key": jax.random.key(0)}
    learner, *_ = run_epoch(
        steps, steps.init(jax.random.key(0)), feed, INDICES, WEIGHTS, lr=0.1, **options
    )
    with compile_seconds() as read:
        run_epoch(steps, learner, feed, INDICES[::-1], 2 * WEIGHTS, lr=0.03, **options)
    assert read() == 0.0
