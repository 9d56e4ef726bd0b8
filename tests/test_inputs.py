"""The door, as a table: what was handed over, to which public function, and what came back.

Driven from the list of public names: a new function is not covered until its plain call is here.
"""

import functools
import inspect
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import gradmatch_jax
from gradmatch_jax import LastLayerGradients, UserError, Validation

N, C, E = 12, 3, 2
RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 1], np.int32)
LOGITS = RNG.integers(0, 5, (N, C)).astype(np.float32)
FEATURES = RNG.integers(0, 5, (N, E)).astype(np.float32)
DENSE = RNG.integers(0, 9, (N, C)).astype(np.float32)
FACTORED = LastLayerGradients(jnp.asarray(LOGITS - 2), jnp.asarray(FEATURES))
GRAM = DENSE @ DENSE.T
HELD = Validation(jnp.asarray(LOGITS[:4]), jnp.asarray(FEATURES[:4]), jnp.asarray(LABELS[:4]))
KEY = jax.random.key(0)


def loss(logits, label):
    return jax.nn.logsumexp(logits) - logits[label]


# Every public function with a plain call of it.
CALLS = {
    "last_layer_gradients": {"logits": LOGITS, "features": FEATURES, "labels": LABELS},
    "gradients_by_definition": {
        "loss": loss, "kernel": FEATURES[:2, :1] * np.ones(C, np.float32),
        "bias": np.zeros(C, np.float32), "features": FEATURES, "labels": LABELS,
    },
    "class_sums": {"gradients": FACTORED, "labels": LABELS, "num_classes": C},
    "weighted_sum": {"atoms": DENSE, "weights": FEATURES[:, 0]},
    "matching_error": {"atoms": DENSE, "indices": LABELS[:3], "weights": FEATURES[:3, 0]},
    "unweighted": {"indices": LABELS[:3]},
    "partition": {"labels": LABELS, "budget": 4},
    "select_subset": {"gradients": DENSE, "budget": 4, "labels": LABELS, "lam": 0.5, "key": KEY},
    "select_batches": {"gradients": DENSE, "budget": 4, "batch_size": 2, "lam": 0.5, "key": KEY},
    "select_coreset": {"gradients": DENSE, "budget": 4, "labels": LABELS},
    "select_coreset_batches": {"gradients": DENSE, "budget": 4, "batch_size": 2, "key": KEY},
    "glister": {
        "gradients": FACTORED, "validation": HELD, "budget": 4, "eta": 0.5, "refresh": 0.5,
        "key": KEY,
    },
    "facility_location": {"similarities": GRAM, "budget": 4},
    "omp": {
        "gram": GRAM, "correlations": GRAM.sum(1), "target_sq_norm": GRAM.sum(), "budget": 4,
        "lam": 0.5,
    },
}  # fmt: skip
# Those whose arguments are no arrays: configurations, data sets and models, which others check.
ELSEWHERE = {
    "describe_stops", "train", "register", "load_dataset", "from_nnx", "stateless",
    "linen_forward", "load_run", "nnx_forward", "projected_gradients", "split_forward",
    "weighted_batches",
}  # fmt: skip


class Vanishing:
    """An array to those who ask, and an exception of its own."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("gone\nfor good")


def masked(x):
    mask = np.zeros(x.shape, bool)
    mask[-1:] = True
    return np.ma.masked_array(x, mask=mask)


def spoilt(value, dtype: type = float):
    """`x` with `value` in its second row."""

    def spoil(x):
        x = np.array(x, dtype)
        x[1] = value
        return x

    return spoil


# --- what is served: it must give what the plain call gives -------------------------------------

SAME = {
    "labels": {
        **{f"{t}": lambda x, t=t: x.astype(t) for t in ("u1", "u2", "u4", "u8", "i1", "i2", "i8")},
        "list": lambda x: x.tolist(),
        "tuple": lambda x: tuple(x.tolist()),
        "jax": jnp.asarray,
        "jax uint8": lambda x: jnp.asarray(x, jnp.uint8),
        "big endian": lambda x: x.astype(">i4"),
        "list of NumPy": list,
        "unmasked": np.ma.masked_array,
    },
    "array": {
        "list": lambda x: x.tolist(),
        "tuple of lists": lambda x: tuple(x.tolist()),
        "list of arrays": list,
        "jax": jnp.asarray,
        "float64": np.float64,
        "float16": np.float16,
        "bfloat16": lambda x: jnp.asarray(x, jnp.bfloat16),
        "longdouble": np.longdouble,
        "int64": np.int64,
        "integers": lambda x: x.astype(np.int16),
        "fortran": np.asfortranarray,
        "unmasked": np.ma.masked_array,
    },
    "count": {
        "NumPy": np.int64, "uint8": np.uint8, "jax": jnp.asarray, "0-d": np.array,
    },
    "number": {
        "float32": np.float32, "float64": np.float64, "jax": jnp.asarray, "0-d": np.array,
    },
    "key": {
        "int": lambda k: 0, "NumPy": lambda k: np.int64(0), "None": lambda k: None,
        "old": lambda k: jax.random.PRNGKey(0),
        "words": lambda k: np.asarray(jax.random.key_data(k)),
    },
}  # fmt: skip
MATRIX = {
    "matrix": np.matrix, "csr": scipy.sparse.csr_matrix, "coo array": scipy.sparse.coo_array,
    "uint8": lambda x: (x - x.min()).astype(np.uint8) if x.min() < 0 else x.astype(np.uint8),
}  # fmt: skip

# --- what is refused: one line that names the argument ------------------------------------------

NOT_ARRAYS = {
    "None inside": lambda x: [None] * len(x),
    "object": lambda x: np.array([None] * len(x), object),
    "strings": lambda x: np.array(["a"] * len(x)),
    "str": lambda x: "abc",
    "dict": lambda x: {"a": x},
    "set": lambda x: {1, 2},
    "generator": lambda x: (row for row in x),
    "scalar": lambda x: 3.0,
    "dates": lambda x: np.zeros(len(x), "M8[s]"),
    "complex": lambda x: x * 1j,
    "masked": masked,
    "vanishing": lambda x: Vanishing(),
    "key": lambda x: KEY,
    "class": lambda x: int,
}
REFUSED = {
    "labels": {
        **NOT_ARRAYS,
        "1..C": lambda x: x + 1,
        "-1": spoilt(-1, int),
        "255": spoilt(255, np.uint8),
        "1e9": spoilt(10**9, np.int64),
        "2^64 - 1": spoilt(2**64 - 1, np.uint64),
        "1e30": lambda x: [10**30] * len(x),
        "floats": lambda x: x.astype(float),
        "fractions": lambda x: x + 0.5,
        "nan": spoilt(np.nan),
        "one-hot": lambda x: np.eye(C, dtype=int)[x],
        "(n, 1)": lambda x: x[:, None],
        "(1, n)": lambda x: x[None],
        "ragged": lambda x: [[0, 1], [0]],
    },
    "array": {
        **NOT_ARRAYS,
        "None": lambda x: None,
        "3-D": lambda x: np.zeros((2, 3, 4)),
        "short": lambda x: x[:-1],
        "ragged": lambda x: [[0.0, 1.0], [0.0]],
        "nan": spoilt(np.nan),
        "-inf": spoilt(-np.inf),
        "bfloat16 nan": lambda x: jnp.asarray(spoilt(np.nan)(x), jnp.bfloat16),
    },
    "count": {
        "None": lambda k: None, "0.1": lambda k: 0.1, "2.0": lambda k: 2.0, "10": lambda k: "10",
        "nan": lambda k: float("nan"), "inf": lambda k: float("inf"), "-3": lambda k: -3,
        "True": lambda k: True, "NumPy True": lambda k: np.bool_(True), "1e30": lambda k: 10**30,
        "2^31": lambda k: np.int64(2**31), "[4]": lambda k: [4], "array": lambda k: np.array([4]),
        "jax float": lambda k: jnp.asarray(4.0), "fraction": lambda k: Fraction(4),
        "complex": lambda k: 4 + 0j, "dict": lambda k: {}, "key": lambda k: KEY,
    },
    "number": {
        "None": lambda v: None, "str": lambda v: "0.5", "nan": lambda v: float("nan"),
        "NumPy nan": lambda v: np.float32("nan"), "jax nan": lambda v: jnp.asarray(jnp.nan),
        "negative": lambda v: -0.5, "inf": lambda v: float("inf"), "huge": lambda v: 10**400,
        "True": lambda v: True, "[0.5]": lambda v: [0.5], "array": lambda v: np.array([0.5, 0.5]),
        "complex": lambda v: 0.5j, "key": lambda v: KEY,
    },
    "key": {
        "float": lambda k: 0.5, "str": lambda k: "0", "True": lambda k: True,
        "batch": lambda k: jax.random.split(k), "floats": lambda k: np.zeros(2),
        "1e30": lambda k: 10**30, "-1": lambda k: -1, "[0]": lambda k: [0],
        "three words": lambda k: np.zeros(3, np.uint32),
    },
}  # fmt: skip

KINDS = {
    "labels": "labels", "budget": "count", "batch_size": "count", "num_classes": "count",
    "lam": "number", "eta": "number", "refresh": "number", "key": "key",
    "logits": "array", "features": "array", "gradients": "array", "atoms": "array",
    "weights": "array", "kernel": "array", "bias": "array", "similarities": "array",
    "gram": "array", "correlations": "array", "target_sq_norm": "number",
}  # fmt: skip
# What a single function may take where its kind may not.
FREE_LABELS = {"1..C", "255", "-1", "1e9", "floats", "fractions", "(n, 1)", "one-hot"}


def allowed(function, argument, case):
    """Whether a case of the kind does not apply to this argument."""
    if function == "gradients_by_definition" and argument == "labels":
        return case in FREE_LABELS | {"nan", "2^64 - 1"}  # only the loss knows what they mean
    if argument == "num_classes" and function == "class_sums":
        return case in ("2^31",)
    if case == "short" and function in ("matching_error", "select_batches", "glister"):
        return argument in ("atoms", "gradients")  # n is what it is
    if case == "short" and function == "select_coreset_batches":
        return True
    if argument in ("kernel", "similarities", "gram", "bias", "correlations"):
        return case in ("uint8",) or (argument == "bias" and case == "short")
    return False


def table(cases):
    for function, arguments in CALLS.items():
        for argument in arguments:
            kind = KINDS.get(argument)
            rows = dict(cases.get(kind, {}))
            if cases is SAME and argument in ("gradients", "atoms", "logits", "features"):
                rows |= {} if isinstance(arguments[argument], tuple) else MATRIX
            for case, change in rows.items():
                if not allowed(function, argument, case):
                    # A solver compiles for each dtype: the halves come later.
                    half = case in ("float16", "bfloat16") and function.startswith("select")
                    yield pytest.param(
                        function, argument, change, id=f"{function}-{argument}-{case}",
                        marks=pytest.mark.thorough if half else (),
                    )  # fmt: skip


def call(function, **changes):
    return getattr(gradmatch_jax, function)(**{**CALLS[function], **changes})


plain = functools.cache(call)


def changed(change, value):
    """The changed argument; of factored gradients, each factor changed."""
    if isinstance(value, LastLayerGradients):
        return LastLayerGradients(*(change(np.asarray(x)) for x in value))
    return change(value)


def assert_same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_every_public_function_is_here():
    names = {
        name for name in gradmatch_jax.__all__
        if inspect.isroutine(f := getattr(gradmatch_jax, name)) or hasattr(f, "lower")
    }  # fmt: skip
    assert names - ELSEWHERE == set(CALLS)


@pytest.mark.parametrize(("function", "argument", "change"), table(SAME))
def test_served(function, argument, change):
    found = call(function, **{argument: changed(change, CALLS[function][argument])})
    assert_same(found, plain(function))


@pytest.mark.parametrize(("function", "argument", "change"), table(REFUSED))
def test_refused(function, argument, change):
    value = changed(change, CALLS[function][argument])
    with pytest.raises(UserError) as error:
        call(function, **{argument: value})
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 250
    assert any(name.removesuffix("s") in said for name in (*CALLS[function], "gradients")), said
