"""`SubsetLoader` in PyTorch loops: rows, weights, modes, workers, checkpoints."""

import numpy as np
import pytest

from gradmatch_jax import Selector
from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset  # noqa: E402

from gradmatch_jax.torch import SubsetLoader, as_jax, torch_forward  # noqa: E402

N, CLASSES = 120, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6)).astype(np.float32)
Y = RNG.integers(0, CLASSES, N)


class Net(nn.Module):
    """A body with what differs between training and evaluation, and a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        return functional.log_softmax(self.fc(self.body(x)), dim=1)


class Numbered(Dataset):
    """A plain data set of pairs; it says which rows were read."""

    def __init__(self):
        self.read = []

    def __getitem__(self, row):
        self.read.append(row)
        return X[row], int(Y[row])

    def __len__(self):
        return N


def net():
    torch.manual_seed(0)
    return Net()


def loader_of(strategy="gradmatch-pb", dataset=None, model=None, **arguments):
    model = net() if model is None else model
    given = {"fraction": 0.25, "every": 2, "batch_size": 10} | arguments
    dataset = TensorDataset(torch.tensor(X), torch.tensor(Y)) if dataset is None else dataset
    return SubsetLoader(dataset, model, head=model.fc, strategy=strategy, **given)


def epoch_of(loader):
    return [torch.cat(parts) for parts in zip(*loader, strict=True)]


def rows_of(x):
    return [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in x.numpy()]


@pytest.mark.thorough
def test_an_epoch_is_the_selectors():
    """Rows, labels and weights are those that `Selector` gives of the same passes."""
    model, loader = net(), loader_of("gradmatch")
    x, y, w = epoch_of(loader)
    assert len(loader) == 3
    assert (x.shape, w.dtype) == ((30, 6), torch.float32)
    model.eval()
    with torch.no_grad():
        features = model.body(torch.tensor(X))
        passes = model.fc(features).numpy(), features.numpy()
    rows, weights = Selector("gradmatch", labels=Y, fraction=0.25)(0, lambda: passes)
    found = rows_of(x)
    assert sorted(found) == sorted(rows)
    np.testing.assert_array_equal(y, Y[found])
    expected = dict(zip(rows.tolist(), weights.tolist(), strict=True))
    np.testing.assert_allclose(w, [expected[row] for row in found], rtol=1e-3)


def test_the_order_is_fresh_each_epoch_and_can_be_left():
    loader, ordered = loader_of("random"), loader_of("random", shuffle=False)
    first, second = (rows_of(epoch_of(loader)[0]) for _ in range(2))
    assert sorted(first) == sorted(second)
    assert first != second
    assert rows_of(epoch_of(ordered)[0]) == rows_of(epoch_of(ordered)[0])


def test_the_models_modes_and_the_users_draws_are_left_alone():
    model = net()
    model.body[1].eval()  # frozen by the user, in a model that trains
    forward = torch_forward(model, model.fc, TensorDataset(torch.tensor(X), torch.tensor(Y)))
    before, state = torch.get_rng_state(), model.body[1].running_mean.clone()
    logits, features = forward()
    assert (logits.shape, features.shape) == ((N, CLASSES), (N, 8))
    assert model.training
    assert model.body[3].training
    assert not model.body[1].training
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.body[1].running_mean, state)
    assert not model.fc._forward_hooks
    np.testing.assert_array_equal(forward(np.array([5, 2]))[0], logits[np.array([5, 2])])


def test_a_plain_dataset_with_workers_pins_nothing_and_reads_what_it_trains_on():
    dataset = Numbered()
    loader = loader_of("adaptive-random", dataset=dataset, labels=Y)
    x, y, _ = epoch_of(loader)
    assert sorted(dataset.read) == sorted(rows_of(x))
    np.testing.assert_array_equal(y, Y[dataset.read])


@pytest.mark.thorough
def test_workers():
    loader = loader_of("random", num_workers=2, persistent_workers=True)
    alone = loader_of("random")
    for _ in range(2):
        for there, here in zip(loader, alone, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(there, here, strict=True))


def test_craigs_weights_have_mean_one_in_each_batch():
    for _, _, w in loader_of("craig"):
        assert float(w.mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.thorough
def test_mappings_and_subsets():
    class Named(Dataset):
        def __getitem__(self, row):
            return {"x": X[row], "y": int(Y[row])}

        def __len__(self):
            return N

    batch = next(iter(loader_of("random", dataset=Named(), labels=Y)))
    assert set(batch) == {"x", "y", "weight"}
    part = Subset(TensorDataset(torch.tensor(X), torch.tensor(Y)), range(20, 80))
    x, _, _ = epoch_of(loader_of("gradmatch", dataset=part))
    assert len(x) == 15
    assert set(rows_of(x)) <= set(range(20, 80))


@pytest.mark.thorough
def test_resumes_where_it_was(tmp_path):
    """By torch.save and torch.load, which unpickles no arrays."""
    whole, first = loader_of("gradmatch-pb"), loader_of("gradmatch-pb")
    expected = [epoch_of(whole) for _ in range(4)]
    for _ in range(2):
        epoch_of(first)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    again = loader_of("gradmatch-pb")
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for wanted in expected[2:]:
        assert all(torch.equal(a, b) for a, b in zip(epoch_of(again), wanted, strict=True))


def test_infobatch_watches_losses():
    loader, model, sizes = loader_of("infobatch", fraction=None), net(), []
    for _ in range(3):
        sizes.append(0)
        for x, y, w in loader:
            losses = functional.nll_loss(model(x), y, reduction="none")
            loader.observe(losses=losses)
            sizes[-1] += len(w)
    assert sizes[0] == N
    assert max(sizes[1:]) < N


def test_devices_share_memory_where_they_can():
    tensor = torch.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(as_jax(tensor), tensor)
    np.testing.assert_array_equal(as_jax(tensor.T), tensor.T)
    np.testing.assert_array_equal(as_jax(tensor.to(torch.bfloat16)), tensor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: loader_of(numworkers=2), "Did you mean 'num_workers'"),
        (lambda: loader_of(sampler=[1]), "draws the rows itself"),
        (lambda: loader_of("grand", loss=lambda z, y: 0.0, labels=Y), "by name.*el2n"),
        (lambda: loader_of(dataset=iter([])), "map-style"),
        (lambda: SubsetLoader(Numbered(), net(), head=nn.Linear(8, 4), fraction=0.1), "no part"),
        (lambda: loader_of().load_state_dict({}), "state must be"),
    ],
)
def test_what_cannot_be_is_said(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_head_that_is_none_is_found_at_the_first_pass():
    layer, picture = nn.Linear(8, 8), nn.Conv2d(1, 1, 1)
    with pytest.raises(UserError, match="ran 2 times"):
        torch_forward(nn.Sequential(layer, layer), layer, [(torch.zeros(8), 0)])()
    with pytest.raises(UserError, match="last linear layer"):
        torch_forward(nn.Sequential(picture), picture, [(torch.zeros(1, 2, 2), 0)])()
    middle, last = nn.Linear(8, 6), nn.Linear(6, 3)
    with pytest.raises(UserError, match="gives 6 numbers an example and the model 3"):
        torch_forward(nn.Sequential(middle, last), middle, [(torch.zeros(8), 0)])()
    model = nn.Sequential(middle, last, nn.LogSoftmax(dim=1))
    assert torch_forward(model, last, [(torch.zeros(8), 0)])()[0].shape == (1, 3)


@pytest.mark.thorough
def test_mnist(shared_data):
    """A few hundred steps of a small network on real MNIST, beside one random subset."""
    data = load_dataset("mnist", shared_data / "mnist")
    train, test = (
        TensorDataset(
            torch.tensor(np.asarray(s.inputs[:m]).reshape(m, -1) / 255.0, dtype=torch.float32),
            torch.tensor(np.asarray(s.labels[:m]), dtype=torch.long),
        )
        for s, m in ((data.train, 5000), (data.test, 2000))
    )

    def accuracy(strategy):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        loader = SubsetLoader(
            train, model, head=model[2], strategy=strategy, fraction=0.04, every=5, batch_size=20
        )
        for _ in range(40):
            for x, y, w in loader:
                loss = (w * functional.cross_entropy(model(x), y, reduction="none")).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        model.eval()
        with torch.no_grad():
            hits = [(model(x).argmax(1) == y).sum() for x, y in DataLoader(test, 500)]
        return 100 * int(sum(hits)) / len(test)

    assert accuracy("gradmatch-pb") > accuracy("random") + 2
