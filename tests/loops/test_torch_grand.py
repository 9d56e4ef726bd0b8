"""GraNd in PyTorch, against its own gradients an example at a time; every strategy in a loader."""

import numpy as np
import pytest

from gradmatch_jax.errors import UserError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

from gradmatch_jax.torch import SubsetLoader, torch_gradient_norms  # noqa: E402

N, CLASSES = 120, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6)).astype(np.float32)
Y = RNG.integers(0, CLASSES, N)
DATA = TensorDataset(torch.tensor(X), torch.tensor(Y))


class Net(nn.Module):
    """A body with what differs between training and evaluation, and a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        return functional.log_softmax(self.fc(self.body(x)), dim=1)


def net():
    torch.manual_seed(0)
    return Net()


def loader_of(strategy, model=None, **arguments):
    model = net() if model is None else model
    given = {"fraction": 0.25, "every": 2, "batch_size": 10} | arguments
    return SubsetLoader(DATA, model, head=model.fc, strategy=strategy, **given)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["softmax", "mse", "sigmoid"])
def test_gradient_norms_are_those_of_a_loop(loss):
    """Each example by itself, by PyTorch's own backward; one parameter is frozen."""
    model = net()
    model.body[0].bias.requires_grad = False
    with torch.no_grad():  # statistics that are not those of a fresh layer
        model(torch.tensor(X))
    wide = np.eye(CLASSES, dtype=np.float32)[Y]
    labels = Y if loss == "softmax" else wide
    norms = torch_gradient_norms(model, model.fc, DATA, labels, loss=loss, batch_size=50)
    modes = [part.training for part in model.modules()]
    found, some = np.asarray(norms()), np.asarray(norms([7, 3]))
    assert [part.training for part in model.modules()] == modes
    model.eval()
    plain = []
    for i in range(N):
        model.zero_grad()
        logits = model.fc(model.body(torch.tensor(X[i : i + 1])))
        aim = torch.tensor(labels[i : i + 1])
        of = {"softmax": functional.cross_entropy, "mse": functional.mse_loss,
              "sigmoid": functional.binary_cross_entropy_with_logits}[loss]  # fmt: skip
        of(logits, aim).backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        plain.append(float(torch.sqrt(sum((g**2).sum() for g in grads))))
    np.testing.assert_allclose(found, plain, rtol=1e-4)
    np.testing.assert_allclose(some, np.asarray(plain)[[7, 3]], rtol=1e-4)


@pytest.mark.thorough
def test_grand_takes_the_largest_gradients():
    model = net()
    loader = loader_of("grand", model=model, proxy_epochs=1)
    list(loader)
    norms = np.asarray(torch_gradient_norms(model, model.fc, loader.dataset, Y, batch_size=40)())
    list(loader)
    rows = np.asarray(loader.selector.selection.indices)
    assert set(rows) == set(np.argsort(-norms)[: len(rows)])


def test_a_model_without_each_examples_gradient_is_said():
    class Odd(Net):
        def forward(self, x):
            return super().forward(x * float(x.sum()))  # reads a number

    model = Odd()
    with pytest.raises(UserError, match=r"\Agrand wants each example's gradient[^\n]*use el2n\Z"):
        torch_gradient_norms(model, model.fc, DATA, Y, batch_size=40)()


def test_inputs_by_name():
    class Named(Net):
        def forward(self, x, scale):
            return super().forward(x * scale)

    class Items(torch.utils.data.Dataset):
        def __getitem__(self, row):
            return {"x": X[row], "scale": np.ones(1, np.float32)}, Y[row]

        def __len__(self):
            return N

    torch.manual_seed(0)
    model = Named()
    found = torch_gradient_norms(model, model.fc, Items(), Y, batch_size=40)()
    other = net()
    expected = torch_gradient_norms(other, other.fc, DATA, Y, batch_size=40)()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.thorough
def test_every_strategy_goes_in_a_loader():
    from gradmatch_jax.strategies.registry import STRATEGIES

    for name in STRATEGIES:
        held = TensorDataset(torch.tensor(X[:40]), torch.tensor(Y[:40]))
        more = {"validation": held} if name == "glister" else {}
        more |= {"proxy_epochs": 1} if STRATEGIES[name].regime.scored else {}
        budgeted = STRATEGIES[name].regime.budgeted
        loader = loader_of(name, every=1, epochs=4, fraction=0.25 if budgeted else None, **more)
        for _ in range(loader.epochs or 3):
            for x, _, w in loader:
                loader.observe(logits=torch.zeros(len(x), CLASSES))
                assert torch.isfinite(w).all(), name
