"""A validation target against the same one posed by hand, and whose class sizes it has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradmatch_jax import select_subset
from gradmatch_jax.errors import UserError
from gradmatch_jax.strategies import build_strategy
from gradmatch_jax.strategies.strategy import Pass, Snapshot, Task

CLASSES, FEATURES, BUDGET, HELD = 4, 5, 12, 15
COUNTS = np.array([20, 15, 15, 10])
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(CLASSES), COUNTS))


def look(seed, labels):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), CLASSES)) + np.eye(CLASSES)[labels]
    features = np.abs(rng.normal(size=(len(labels), FEATURES)))
    to = [jnp.asarray(x, jnp.float32) for x in (logits, features)]
    return Pass(*to, jnp.asarray(labels, jnp.int32))


def class_targets(held, own):
    """Each class's sum of delta ⊗ [1, h], or of its own column of that, in float64."""
    z, h = np.asarray(held.logits, np.float64), np.asarray(held.features, np.float64)
    y = np.asarray(held.labels)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    delta = p / p.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]
    delta = delta[np.arange(len(y)), y][:, None] if own else delta
    g = delta[:, :, None] * np.concatenate([np.ones((len(y), 1)), h], axis=1)[:, None, :]
    return np.stack([g[y == c].sum(axis=0) for c in range(CLASSES)])


def by_index(selection):
    return dict(zip(selection.indices.tolist(), selection.weights.tolist(), strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["gradmatch", "gradmatch-per-class"])
def test_a_validation_target_has_the_class_shares_that_are_asked_for(name):
    """Fifteen of each class are held out, where training has 20, 15, 15 and 10."""
    train, held = look(0, LABELS), look(8, np.repeat(np.arange(CLASSES), HELD))
    own = name == "gradmatch"
    task, found = Task(LABELS, CLASSES, BUDGET), {}
    for shares, scale in (("train", COUNTS / HELD), ("validation", np.ones(CLASSES))):
        settings = {"validation_target": True, "target_shares": shares}
        strategy = build_strategy(name, task, settings)
        selection, _ = strategy.select({}, Snapshot(train, held), jax.random.key(1))
        expected = select_subset(
            train.gradients, BUDGET, labels=LABELS, key=jax.random.key(1),
            approximation="per_gradient" if own else "exact",
            target=jnp.asarray(class_targets(held, own) * scale[:, None, None], jnp.float32),
        )  # fmt: skip
        found[shares] = by_index(selection)
        assert found[shares] == pytest.approx(by_index(expected), rel=1e-3)
    assert found["train"] != pytest.approx(found["validation"], rel=0.01)


def test_shares_of_no_target_are_refused():
    with pytest.raises(UserError, match="target_shares needs validation_target"):
        build_strategy("gradmatch", Task(LABELS, CLASSES, BUDGET), {"target_shares": "validation"})
