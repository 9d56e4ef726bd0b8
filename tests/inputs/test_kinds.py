"""What is handed over where something of another kind is wanted: served, or one line at once."""

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import gradmatch_jax as gm
from gradmatch_jax.errors import UserError
from gradmatch_jax.loops.batches import weighted_batches
from gradmatch_jax.loops.forwards import nnx_forward, split_forward
from gradmatch_jax.projection import projected_gradients
from toys import mostly_long, needs_grain

RNG = np.random.default_rng(0)
Y = np.array([0, 1, 2] * 4, np.int32)
Z, H = (RNG.normal(size=(12, k)).astype(np.float32) for k in (3, 2))


def selector(strategy="random", **given):
    return gm.Selector(strategy, **{"labels": Y, "fraction": 0.5} | given)


@pytest.mark.parametrize("scale", mostly_long([1, 2**32, 10**9], 2**32))
def test_wide_integers_are_the_numbers_they_are(scale):
    """JAX cuts them to 32 bits: 5e9 was 7e8."""
    near = np.array([[5, 1, 0], [1, 5, 1], [0, 1, 5]]) * scale
    found, same = gm.facility_location(near, 2), gm.facility_location(near.astype(float), 2)
    np.testing.assert_allclose(found.gains, same.gains, rtol=1e-6)
    norms = np.arange(12) * scale * 7
    one = gm.Selector("grand", labels=Y, budget=3, proxy_epochs=1)
    assert sorted(one(1, gradient_norms=lambda: norms)[0]) == [9, 10, 11]

    def squared(z, y):
        return jnp.sum((z - jnp.asarray(y, z.dtype)) ** 2)

    whole, floats = (
        gm.last_layer_gradients(Z[:, :1], H, norms.astype(kind), squared).residuals
        for kind in (np.int64, np.float32)
    )
    np.testing.assert_allclose(whole, floats, rtol=1e-6)
    of = [
        projected_gradients(
            lambda w, x: (w * x.astype(w.dtype)).sum(), jnp.ones(1), [norms.astype(kind)[:, None]]
        )
        for kind in (np.int64, np.float32)
    ]
    np.testing.assert_allclose(of[0], of[1], rtol=1e-6)


X = np.zeros((12, 2), np.float32)
BATCHES = {
    "one array": X, "a dict": {"x": X, "y": Y}, "nothing": None, "no arrays": (),
    "lists": ([0.0] * 12, Y), "another length": (X[:5], Y),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCHES)
def test_batches_are_of_a_tuple_of_arrays(name):
    with pytest.raises(UserError, match="array"):
        next(weighted_batches(selector(), 0, BATCHES[name], 3))


class Frame:
    """As pandas has it: frame[rows] takes columns."""

    dtype, shape, iloc = X.dtype, X.shape, None


def test_batches_of_what_is_indexed_otherwise():
    sparse = pytest.importorskip("scipy.sparse")
    for odd in (Frame(), sparse.csr_matrix(X)):
        with pytest.raises(UserError, match=r"pass numpy\.asarray"):
            next(weighted_batches(selector(), 0, (odd, Y), 3))


def test_rows_of_a_pass():
    forward = split_forward(lambda x: x, lambda h: 2 * h, jnp.arange(10.0).reshape(5, 2))
    assert [x.shape for x in forward([])] == [(0, 2), (0, 2)]
    for rows in ([7], [-1], np.array([True, False] * 2 + [True])):
        with pytest.raises(UserError, match="rows"):
            forward(rows)
    with pytest.raises(UserError, match="10 rows and 8"):
        split_forward(lambda t: t["b"], lambda h: h, {"a": jnp.ones((10, 2)), "b": jnp.ones(8)})


def test_heads_that_are_none():
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.body, self.head, self.none = (
                nnx.Linear(2, 4, rngs=rngs),
                nnx.Linear(4, 3, rngs=rngs),
                None,
            )

        def __call__(self, x):
            return self.head(self.body(x))

    net = Net()
    assert [x.shape for x in nnx_forward(net, net.head, H)()] == [(12, 3), (12, 4)]
    with pytest.raises(UserError, match="no last layer"):
        nnx_forward(net, net.body, H)()


def test_records_that_are_no_numbers():
    watched = gm.Selector("infobatch", labels=Y, epochs=8)
    for losses in (np.r_[np.nan, np.ones(11)], np.r_[np.inf, np.ones(11)], np.ones(11)):
        with pytest.raises(UserError, match=r"losses have shape|nan or inf"):
            watched.observe(np.arange(12), losses=losses)


@pytest.fixture(scope="module")
def outcomes():
    """What `another_kind` says, in a process without a check of annotations."""
    script = Path(__file__).with_name("another_kind.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_another_kind_is_one_line(outcomes):
    """Where it can be served, nowhere here: a UserError of one line, no traceback of ours."""
    assert len(outcomes) >= 33
    wrong = {k: v for k, v in outcomes.items() if not v.startswith("UserError: ") or "\n" in v}
    assert not wrong


def test_a_setting_of_a_strategy_that_has_none():
    with pytest.raises(UserError, match="there are none"):
        selector("craig", lamb=1)


def test_the_widest_seed():
    assert selector(seed=2**32 - 1).seed == 2**32 - 1


def taken_as_floats(x):
    return gm.Dataset.from_arrays("m", x, Y, x, Y).train.inputs.dtype == np.float32


def test_half_precision_as_a_data_set():
    assert taken_as_floats(jnp.asarray(H, jnp.bfloat16))


def test_tensors_as_a_data_set():
    torch = pytest.importorskip("torch")
    assert taken_as_floats(torch.tensor(H).bfloat16())
    assert taken_as_floats(torch.tensor(H).requires_grad_())


def test_tensors_of_every_kind():
    """Served where the numbers are there, else one line that says what the tensor is."""
    torch = pytest.importorskip("torch")
    wanted = gm.select_subset(H, 3).indices.tolist()
    halves = [torch.tensor(H).to(getattr(torch, name)) for name in ("bfloat16", "float8_e5m2")]
    for tensor in (torch.tensor(H).to_sparse(), torch.tensor(H).T.contiguous().T):
        assert gm.select_subset(tensor, 3).indices.tolist() == wanted
    for tensor in halves:
        assert gm.select_subset(tensor, 3).indices.shape == (3,)
    ragged = torch.nested.nested_tensor([torch.ones(3), torch.ones(2)])
    for odd in (torch.ones(12, 4, device="meta"), ragged):
        with pytest.raises(UserError, match="no dense torch tensor of numbers"):
            gm.select_subset(odd, 3)


@pytest.mark.parametrize("memory", [None, "1e6", 1.5, 0, True])
def test_memory_is_a_number_of_bytes(memory):
    with pytest.raises(UserError, match="memory must be"):
        projected_gradients(lambda w, x: w @ x, jnp.ones(2), [(X,)], 4, memory=memory)


def test_streams_of_arrays_and_of_nothing():
    needs_grain()
    from gradmatch_jax.grain import stream

    for source in (H, jnp.asarray(H), H.tolist()):
        first, second, _ = stream(source, [5, 0, 7], 1)
        assert (first.tolist(), second.tolist()) == (H[[5]].tolist(), H[[0]].tolist())
    for odd in (None, 3, "train", {"x": 1}):
        with pytest.raises(UserError, match="source"):
            stream(odd, [0], 1)
