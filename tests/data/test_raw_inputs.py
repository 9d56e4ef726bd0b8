"""How arrays of one's own are read: what they become, and what is refused in one line."""

import dataclasses

import jax
import numpy as np
import pytest

from gradmatch_jax.data import Dataset, ImagePrepare, InputSource, Split, Standardise, Tokens
from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.dataset import check
from gradmatch_jax.data.prepare import value_statistics
from gradmatch_jax.errors import UserError

Y = np.arange(30) % 3
RNG = np.random.default_rng(0)


def own(x, y=Y, **options):
    return Dataset.from_arrays("own", x[:21], y[:21], x[21:], y[21:], **options)


@pytest.mark.parametrize(
    ("x", "dtype", "shape", "prepare"),
    [
        (RNG.integers(0, 256, (30, 4, 5), np.uint8), "uint8", (4, 5, 1), ImagePrepare),
        (RNG.integers(0, 256, (30, 4, 5, 3), np.uint8), "uint8", (4, 5, 3), ImagePrepare),
        (RNG.random((30, 4, 5)), "float32", (4, 5, 1), ImagePrepare),
        (RNG.random((30, 4, 5, 3), np.float32), "float32", (4, 5, 3), ImagePrepare),
        (RNG.random((30, 7)).astype(np.float16), "float32", (7,), Standardise),
        (RNG.random((30, 2, 3, 4, 5)), "float32", (2, 3, 4, 5), Standardise),
        (RNG.integers(0, 256, (30, 7), np.uint8), "float32", (7,), Standardise),
        (RNG.random((30, 7)) < 0.5, "float32", (7,), Standardise),
        (RNG.integers(0, 9, (30, 7)), "int32", (7,), Tokens),
        (RNG.integers(0, 9, (30, 7), np.uint16), "int32", (7,), Tokens),
        (RNG.random((30, 7)).tolist(), "float32", (7,), Standardise),
        (jax.numpy.ones((30, 7)), "float32", (7,), Standardise),
    ],
)
def test_what_an_array_is(x, dtype, shape, prepare):
    data = own(x)
    assert (data.train.dtype, data.train.shape) == (dtype, shape)
    assert isinstance(data.prepare, prepare)
    assert (len(data.train), len(data.validation), len(data.test)) == (19, 2, 9)
    check(data)
    made = np.asarray(data.prepare(None, jax.numpy.asarray(data.train.inputs)))
    assert made.shape == (19, *shape)
    if prepare is not Tokens:
        assert made.dtype == np.float32
        axes = tuple(range(made.ndim - 1))
        np.testing.assert_allclose(made.mean(axes), 0, atol=1e-4)
        spread = made.std(axes)
        np.testing.assert_allclose(spread, np.where(spread < 1e-3, 0, 1), atol=1e-3)


def test_float_images_are_not_divided_again():
    pixels = RNG.integers(0, 256, (30, 4, 4, 3), np.uint8)
    whole, unit = own(pixels), own(pixels / 255.0)
    np.testing.assert_allclose(whole.prepare.mean, unit.prepare.mean, rtol=1e-6)
    np.testing.assert_allclose(whole.prepare.std, unit.prepare.std, rtol=1e-6)
    made = (
        np.asarray(data.prepare(None, jax.numpy.asarray(data.test.inputs)))
        for data in (whole, unit)
    )
    np.testing.assert_allclose(*made, atol=2e-6)


def test_columns_are_standardised_as_scikit_learn_does():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = RNG.normal(size=(30, 6)) * 10.0 ** np.arange(-3, 3) + 1000.0 * np.arange(6)
    x[:, 2] = 0.1  # a constant column, whose rounding must not be blown up
    data = own(x)
    scaler = preprocessing.StandardScaler().fit(data.train.inputs.astype(np.float64))
    made = np.asarray(data.prepare(None, data.test.inputs))
    np.testing.assert_allclose(made, scaler.transform(data.test.inputs), atol=2e-3)
    np.testing.assert_allclose(made[:, 2], 0, atol=1e-6)
    assert value_statistics(np.zeros((4, 2), np.float32)) == ((0.0, 0.0), (1.0, 1.0))


def test_prepare_is_hashed_by_what_it_does():
    one, same, other = (Standardise((0.0,), (scale,)) for scale in (1.0, 1.0, 2.0))
    assert (hash(one), one) == (hash(same), same)
    assert one != other


def test_images_are_augmented_by_their_key_alone():
    x = RNG.integers(1, 256, (6, 5, 5, 1), np.uint8)
    prepare = ImagePrepare((0.5,), (0.25,), crop_padding=2, flip=True)
    plain, once, again, other = (
        np.asarray(prepare(key, jax.numpy.asarray(x)))
        for key in (None, jax.random.key(1), jax.random.key(1), jax.random.key(2))
    )
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    np.testing.assert_allclose(plain, (x / 255 - 0.5) / 0.25, atol=1e-5)


class Waves:
    """A stream of float series: what is made on demand need not be a picture."""

    shape, dtype = (5,), np.dtype(np.float32)

    def __len__(self):
        return 30

    def take(self, indices):
        return np.sin(np.asarray(indices)[:, None] + np.arange(5)).astype(np.float32)


def test_a_stream_of_any_shape():
    assert isinstance(Waves(), InputSource)
    prepare = Standardise((0.0,) * 5, (1.0,) * 5)
    waves = Waves()
    data = Dataset.from_arrays("waves", waves, Y, waves, Y, prepare=prepare)
    assert (data.train.shape, data.train.in_memory, len(data.train)) == ((5,), False, 27)
    with pytest.raises(UserError, match="a stream has no statistics of its own; give prepare="):
        Dataset.from_arrays("waves", waves, Y, waves, Y)


def test_token_ids_have_words_or_numbers():
    ids = np.array([[1, 2, 0], [3, 0, 0]] * 15)
    assert own(ids).vocabulary == ("", "1", "2", "3")
    assert own(ids, vocabulary=("", "a", "b", "c", "d")).vocabulary == ("", "a", "b", "c", "d")
    with pytest.raises(UserError, match="token ids reach 3, but the vocabulary has 3 words"):
        own(ids, vocabulary=("", "a", "b"))


FLOATS = RNG.random((30, 4))


class Loose:
    """A prepare that is no dictionary's key."""

    __hash__ = None

    def __call__(self, key, raw):
        return raw


def at(row, value, dtype=np.float64):
    x = np.ones((30, 4), dtype)
    x[row, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (at(slice(5, 8), np.nan), Y, r" x_train.*3 of 21 rows hold nan or inf \(first: row 5\)"),
        (at(25, np.inf), Y, r" x_test.*1 of 9 rows hold nan or inf \(first: row 4\)"),
        (at(0, 1e300), Y, r"1 of 21 rows hold nan or inf \(first: row 0\)"),
        (np.full((30, 4), None), Y, "inputs must be numbers, not object"),
        (np.full((30, 4), "word"), Y, "inputs must be numbers, not <U4 .*tsv"),
        (np.ones(30), Y, r"inputs must be \(n, d\), images .n, h, w. or .n, h, w, c., not"),
        (np.ones((30, 4, 4), int), Y, "store images as uint8 in 0..255, other numbers as floats"),
        (at(3, -1, int), Y, r"1 of 21 rows hold negative ones \(first: row 3\); pad with 0"),
        (at(3, 10**9, int), Y, "token ids, and reach 1000000000; number words 1..V"),
        (np.ones((30, 3, 32, 32)), Y, r"channels first; .*x.transpose\(0, 2, 3, 1\)"),
        (FLOATS, Y + 1, r"labels start at 1; number the classes 0..C-1 \(subtract 1\)"),
        (FLOATS, Y + 5, "labels start at 5; number the classes"),
        (FLOATS, np.where(np.arange(30) == 2, -1, Y), r"labels outside 0..2 \(first: row 2\), wh"),
        (FLOATS, Y.astype(float), r"labels must be integers .*not float64 .*y.astype\(int\)"),
        (FLOATS, np.eye(3)[Y], r"labels must be integers .*one-hot labels: y.argmax\(axis=1\)"),
        (FLOATS, Y[:-1], " x_test, y_test: 9 rows but 8 labels"),
        (FLOATS, Y * 0, "all training labels are 0; there must be two classes"),
        (FLOATS, Y * 1000, "training labels reach 2000 with only 21 rows"),
    ],
)
def test_unfit_arrays(x, y, message):
    with pytest.raises(UserError, match=rf"\Aown[^\n]*{message}[^\n]*\Z"):
        own(x, y)


@pytest.mark.parametrize(
    ("x_test", "message"),
    [
        (np.ones((9, 5)), r"own test: rows are \(5,\), expected \(4,\)"),
        (np.ones((9, 4), int), "own test: rows are int32, expected float32 as in training"),
        ({"a": 1}, "inputs must be an array or a stream .*not dict"),
        ([[1.0], [1.0, 2.0]], "one shape a row; pad sequences with 0"),
    ],
)
def test_a_test_set_unlike_the_training_set(x_test, message):
    with pytest.raises(UserError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        Dataset.from_arrays("own", FLOATS, Y, x_test, Y[:9])


def test_other_arguments_are_checked():
    with pytest.raises(UserError, match="give both x_val and y_val or neither"):
        own(FLOATS, x_val=FLOATS)
    with pytest.raises(UserError, match="validation_fraction must be above 0 and below 1"):
        own(FLOATS, validation_fraction=0.0)
    with pytest.raises(UserError, match=r"labels outside 0\.\.1"):
        own(FLOATS, class_names=("a", "b"))
    kept = own(FLOATS, x_val=FLOATS[:3], y_val=Y[:3])
    assert (len(kept.train), len(kept.validation)) == (21, 3)


def test_boolean_labels_are_two_classes():
    split = make_split("here", FLOATS, Y > 0)
    np.testing.assert_array_equal(split.labels, np.minimum(Y, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 2}, r" train: 7 of 21 rows have labels outside 0\.\.1"),
        ({"test": Split(np.ones((0, 4), np.float32), np.zeros(0, np.int32))}, " test: no rows"),
        ({"test": Split(np.ones((2, 4)), np.zeros(2, np.int32))}, "float64 .* should be float32"),
        ({"test": Split(np.full((2, 4), np.nan, np.float32), np.zeros(2, np.int32))}, "2 of 2 row"),
        ({"prepare": Loose()}, "prepare must be hashable"),
    ],
)
def test_a_dataset_put_together_by_hand_is_checked(changes, message):
    data = own(FLOATS, x_val=FLOATS[:3], y_val=Y[:3])
    with pytest.raises(UserError, match=rf"\Aown[^\n]*{message}[^\n]*\Z"):
        check(dataclasses.replace(data, **changes))
