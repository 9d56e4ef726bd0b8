"""`weighting=` of a loop of one's own: where the weights are brought to mean 1."""

import numpy as np
import pytest

from gradmatch_jax import Selector, weighted_batches
from gradmatch_jax.errors import UserError

N, CLASSES = 60, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, N)
LOGITS, FEATURES = RNG.normal(size=(N, CLASSES)), RNG.normal(size=(N, 4))


def forward():
    return LOGITS, FEATURES


def selector_of(strategy, **settings):
    return Selector(strategy, budget=24, labels=LABELS, **settings)


def batches_of(selector, size=4):
    rows = np.arange(N)
    return [
        (r, w.astype(float))
        for r, w in weighted_batches(selector, 0, (rows,), size, forward=forward)
    ]


def means(batches):
    return np.array([w.mean() for _, w in batches])


@pytest.mark.parametrize("strategy", ["gradmatch", "gradmatch-per-class", "craig"])
def test_weights_are_scaled_in_each_mini_batch_or_once(strategy):
    by_batch = batches_of(selector_of(strategy, weighting="batch"))
    once = batches_of(selector_of(strategy, weighting="selection"))
    np.testing.assert_allclose(means(by_batch), 1, rtol=1e-6)
    assert np.ptp(means(once)) > 0.05
    np.testing.assert_allclose(np.mean(np.concatenate([w for _, w in once])), 1, rtol=1e-6)
    for (rows, own), (same, weights) in zip(by_batch, once, strict=True):
        np.testing.assert_array_equal(rows, same)
        np.testing.assert_allclose(own, weights / weights.mean(), rtol=1e-5)


def test_as_the_method_gave_them():
    """Or not scaled at all: the sum of gradients, and no mean."""
    selector = selector_of("gradmatch", weighting="none")
    rows, weights = selector(0, forward)
    given = dict(zip(*selector.selection.numpy(), strict=True))
    np.testing.assert_array_equal(weights, [given[row] for row in rows])


def test_own_is_the_strategys_and_another_is_another_selector():
    own = selector_of("craig")
    assert own.weighting == "batch"
    own(0, forward)
    again = selector_of("craig", weighting="batch").restore(own.state())
    np.testing.assert_array_equal(again(0, forward)[0], own(0, forward)[0])
    with pytest.raises(UserError, match="weighting selection"):
        selector_of("craig", weighting="selection").restore(own.state())


def test_a_loader_has_it_too():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from gradmatch_jax.torch import SubsetLoader

    data = torch.utils.data.TensorDataset(torch.as_tensor(FEATURES).float(), torch.tensor(LABELS))
    head = torch.nn.Linear(4, CLASSES)
    for weighting, even in (("batch", True), ("own", False)):
        loader = SubsetLoader(
            data, torch.nn.Sequential(head), head=head, strategy="gradmatch", fraction=0.4,
            batch_size=4, labels=LABELS, weighting=weighting,
        )  # fmt: skip
        found = np.array([float(w.mean()) for _, _, w in loader])
        assert np.allclose(found, 1, rtol=1e-5) == even
