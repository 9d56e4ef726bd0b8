import doctest
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradmatch_jax.errors import UserError
from gradmatch_jax.models import build_model, model, model_names
from gradmatch_jax.models.layers import BatchNorm
from gradmatch_jax.models.model import Model, Variables, from_nnx
from toys import LONG, mostly_long

SHALLOW = ("lenet", "mlp", "logistic")


def images(shape, n=3, seed=1):
    return jax.random.normal(jax.random.key(seed), (n, *shape))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(net, image_shape):
    """A model's variables and outputs as shapes, without computing anything."""
    variables = jax.eval_shape(net.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    return variables, jax.eval_shape(lambda v, x: net.apply(v, x, True), variables, x)


@pytest.fixture(scope="module")
def resnet():
    """ResNet-20 on 8×8 images: (model, variables, jitted apply)."""
    net = build_model("resnet20", (8, 8, 3), 5)
    return net, net.init(jax.random.key(0)), jax.jit(net.apply, static_argnums=2)


# --- the contract -----------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize(
    "shape",
    mostly_long([(28, 28, 1), (9, 31, 2), (8, 8, 1), (32, 32, 3)], (9, 31, 2)),
)
@pytest.mark.parametrize("name", SHALLOW)
def test_logits_are_the_last_linear_layer_of_the_features(name, shape):
    net = build_model(name, shape, 7)
    variables = net.init(jax.random.key(0))
    logits, features, stats = net.apply(variables, images(shape), True)
    head = variables.params["head"]
    assert logits.shape == (3, 7)
    np.testing.assert_allclose(logits, features @ head["kernel"] + head["bias"][None], atol=1e-5)
    assert not jax.tree.leaves(stats)


@pytest.mark.thorough
@pytest.mark.parametrize("train", [False, True])
def test_resnet_logits_are_the_last_linear_layer_of_the_features(resnet, train):
    _, variables, apply = resnet
    logits, features, _ = apply(variables, images((8, 8, 3)), train)
    head = variables.params["head"]
    np.testing.assert_allclose(logits, features @ head["kernel"] + head["bias"][None], atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters", "width"),
    [
        ("logistic", (28, 28, 1), 10, 7_850, 784),
        ("mlp", (28, 28, 1), 10, 101_770, 128),
        ("lenet", (28, 28, 1), 10, 61_706, 84),
        ("lenet", (32, 32, 1), 10, 61_706, 84),
        ("mnistnet", (28, 28, 1), 10, 1_199_882, 128),
        ("resnet18", (32, 32, 3), 10, 11_173_962, 512),
        ("resnet18", (224, 224, 3), 1000, 11_689_512, 512),  # torchvision's resnet18
        ("resnet20", (32, 32, 3), 10, 269_722, 64),  # He et al. 2015, table 6: 0.27M
        pytest.param("resnet164", (32, 32, 3), 10, 1_703_258, 256, marks=LONG),  # He 2016: 1.7M
    ],
)
def test_published_parameter_counts(name, shape, classes, parameters, width):
    net = build_model(name, shape, classes)
    params, _ = jax.eval_shape(net.init, jax.random.key(0))
    assert count(params) == parameters
    assert params["head"]["kernel"].shape == (width, classes)


@pytest.mark.thorough
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("name", "size"),
    [("lenet", 8), ("mlp", 8), ("logistic", 8), ("resnet18", 32), ("resnet18", 64)],
)
def test_everything_outside_the_hidden_layers_is_float32(name, size, bf16):
    net = build_model(name, (size, size, 3), 10, bf16=bf16)
    variables, (logits, features, stats) = shapes(net, (size, size, 3))
    leaves = jax.tree.leaves((variables, logits, features, stats))
    assert {str(leaf.dtype) for leaf in leaves} == {"float32"}
    assert logits.shape == (2, 10)
    assert features.shape == (2, variables.params["head"]["kernel"].shape[0])
    assert jax.tree.map(jnp.shape, stats) == jax.tree.map(jnp.shape, variables.stats)


@pytest.mark.thorough
def test_init_depends_on_the_key_alone():
    net = build_model("lenet", (8, 8, 1), 10)
    a, b, c = (net.init(jax.random.key(seed)) for seed in (3, 3, 4))
    assert all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))
    assert all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x != y).any()), a, c)))


def test_initialisation_is_pytorchs_default():
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for kernel and bias: bounds, and the variance bound²/3."""
    params = build_model("lenet", (28, 28, 1), 10).init(jax.random.key(0)).params
    for layer, fan_in in (("conv1", 25), ("conv2", 150), ("fc1", 400), ("fc2", 120), ("head", 84)):
        values = np.concatenate([np.ravel(params[layer][k]) for k in ("kernel", "bias")])
        bound = fan_in**-0.5
        assert 0.9 * bound < np.abs(values).max() <= bound
        assert np.abs(params[layer]["bias"]).max() > 0
        assert np.var(values) == pytest.approx(bound**2 / 3, rel=4 / np.sqrt(values.size))


def test_batch_norm_starts_as_the_identity(resnet):
    flat = jax.tree_util.tree_leaves_with_path(resnet[1].params)
    norms = {jax.tree_util.keystr(p): leaf for p, leaf in flat if "'norm'" in str(p)}
    assert len(norms) == 2 * 19
    for path, leaf in norms.items():
        assert (leaf == (1 if "scale" in path else 0)).all()


def test_no_retracing_on_the_second_call():
    net = build_model("lenet", (8, 8, 1), 10)
    traces = []

    @jax.jit
    def forward(variables, x):
        traces.append(1)
        return net.apply(variables, x, True)

    _, _, stats = forward(net.init(jax.random.key(0)), images((8, 8, 1)))
    forward(Variables(net.init(jax.random.key(1)).params, stats), images((8, 8, 1), seed=2))
    assert len(traces) == 1


# --- train and evaluation mode ----------------------------------------------------------------


@pytest.mark.thorough
def test_evaluation_of_a_row_ignores_the_other_rows(resnet):
    _, variables, apply = resnet
    x = images((8, 8, 3))
    _, _, stats = apply(variables, x, True)
    trained = Variables(variables.params, stats)
    logits, _, after = apply(trained, x, False)
    others, _, _ = apply(trained, x.at[1:].set(9.0), False)
    np.testing.assert_allclose(logits[0], others[0], atol=1e-5)
    assert not np.allclose(logits[1], others[1], atol=1e-2)
    jax.tree.map(np.testing.assert_array_equal, after, stats)
    in_training = [apply(trained, y, True)[0][0] for y in (x, x.at[1:].set(9.0))]
    assert not np.allclose(*in_training, atol=1e-3)


def test_training_moves_running_statistics_by_a_tenth():
    """New = 0.9 old + 0.1 batch, with the biased variance (PyTorch's running one is unbiased)."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.bn = BatchNorm(3, rngs)
            self.head = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            features = self.bn(x).mean(axis=(1, 2))
            return self.head(features), features

    net = from_nnx("bn", Net)
    params, _ = net.init(jax.random.key(0))
    old = {"mean": jnp.array([1.0, -2.0, 3.0]), "var": jnp.array([0.5, 1.0, 4.0])}
    x = images((4, 4, 3), n=5) * 2 + 1
    _, _, new = net.apply(Variables(params, {"bn": {"norm": old}}), x, True)
    flat = np.asarray(x, np.float64).reshape(-1, 3)
    for key, batch in (("mean", flat.mean(0)), ("var", flat.var(0))):
        expected = 0.9 * np.asarray(old[key]) + 0.1 * batch
        np.testing.assert_allclose(new["bn"]["norm"][key], expected, rtol=2e-6)


@pytest.mark.thorough
def test_gradients_reach_every_parameter(resnet):
    net, variables, _ = resnet

    def loss(params):
        logits, _, _ = net.apply(Variables(params, variables.stats), images((8, 8, 3)), True)
        return (logits**2).sum()

    grads = jax.jit(jax.grad(loss))(variables.params)
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(g).all(), path
        assert np.abs(g).max() > 0, path


@pytest.mark.thorough
@pytest.mark.parametrize("name", mostly_long([*SHALLOW, "resnet20"], "lenet", "resnet20"))
def test_bf16_is_close_to_float32(name):
    shape = (8, 8, 3)
    full, half = (build_model(name, shape, 5, bf16=bf16) for bf16 in (False, True))
    variables = full.init(jax.random.key(0))
    x = images(shape, n=4)
    a, b = (jax.jit(net.apply, static_argnums=2)(variables, x, True) for net in (full, half))
    for exact, rounded in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert rounded.dtype == jnp.float32
        assert np.linalg.norm(rounded - exact) <= 0.03 * np.linalg.norm(exact)
    if name != "logistic":
        assert (a[0] != b[0]).any()  # bfloat16 was used at all


# --- other people's models --------------------------------------------------------------------


def test_the_docstrings_plain_jax_model_works():
    result = doctest.testmod(model)
    assert result.attempted >= 5
    assert result.failed == 0


def test_dropout_draws_anew_each_training_step_and_rests_in_evaluation():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(11)])
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.head = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            x = x.reshape(x.shape[0], -1)
            for block in self.blocks:
                x = block(x)
            x = self.dropout(x)
            return self.head(x), x

    net = from_nnx("dropout", Net)
    apply = jax.jit(net.apply, static_argnums=2)
    start, x = net.init(jax.random.key(0)), images((2, 2, 1))
    assert set(start.params["blocks"]) == {str(i) for i in range(11)}
    first, _, stats = apply(start, x, True)
    second, _, _ = apply(Variables(start.params, stats), x, True)
    again, _, _ = apply(start, x, True)
    assert (first != second).any()
    np.testing.assert_array_equal(first, again)
    plain = x.reshape(3, 4)
    for i in range(11):
        layer = start.params["blocks"][str(i)]
        plain = plain @ layer["kernel"] + layer["bias"][None]
    np.testing.assert_allclose(apply(start, x, False)[1], plain, rtol=1e-4, atol=1e-6)


def test_any_pair_of_functions_is_a_model():
    def init(key):
        return Variables({"w": jax.random.normal(key, (4, 3))}, {})

    def apply(variables, x, train):
        features = x.reshape(x.shape[0], -1)
        return features @ variables.params["w"], features, variables.stats

    mine = Model("mine", init, apply)
    logits, features, stats = jax.jit(mine.apply, static_argnums=2)(
        mine.init(jax.random.key(0)), images((2, 2, 1)), True
    )
    assert logits.shape == (3, 3)
    assert features.shape == (3, 4)
    assert stats == {}


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typo", "meant"), [("resnet81", "resnet18"), ("LeNet", "lenet")])
def test_a_mistyped_name_is_answered_with_the_names(typo, meant):
    with pytest.raises(UserError, match=f"logistic.*Did you mean '{meant}'") as error:
        build_model(typo, (8, 8, 1), 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "classes"), [((3, 8, 1), 10), ((8, 8), 10), ((8, 0, 1), 10), ((8, 8, 1), 0)]
)
def test_impossible_shapes_are_refused(shape, classes):
    with pytest.raises(UserError):
        build_model("lenet", shape, classes)


def test_listing_the_names_does_not_import_jax():
    code = (
        "import sys; from gradmatch_jax.models import model_names; print(*model_names());"
        "assert not {'jax', 'flax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == model_names()
