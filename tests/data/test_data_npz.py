"""The plain .npz format: what it takes and what it refuses."""

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": rng.integers(0, 256, (9, 4, 5, 3), dtype=np.uint8),
        "y_test": np.arange(9) % 3,
    }


@pytest.fixture
def load(tmp_path):
    def save_and_load(arrays: dict[str, np.ndarray], **options):
        np.savez(tmp_path / "own.npz", **arrays)
        return load_dataset("npz", tmp_path / "own.npz", **options)

    return save_and_load


def test_a_set_of_ones_own(load, arrays):
    data = load(arrays)
    assert (len(data.train), len(data.validation), len(data.test)) == (54, 6, 9)
    assert np.bincount(data.validation.labels).tolist() == [2, 2, 2]
    assert data.num_classes == 3
    assert data.class_names == ("0", "1", "2")
    assert (data.prepare.crop_padding, data.prepare.flip) == (0, False)
    np.testing.assert_array_equal(data.test.inputs, arrays["x_test"])
    pixels = np.asarray(data.train.inputs) / 255
    np.testing.assert_allclose(data.prepare.mean, pixels.mean((0, 1, 2)))
    np.testing.assert_allclose(data.prepare.std, pixels.std((0, 1, 2)))


def test_its_own_validation_split_is_kept(load, arrays):
    data = load(arrays | {"x_val": arrays["x_test"][:3], "y_val": arrays["y_test"][:3]})
    assert (len(data.train), len(data.validation)) == (60, 3)
    np.testing.assert_array_equal(data.train.inputs, arrays["x_train"])
    np.testing.assert_array_equal(data.validation.inputs, arrays["x_test"][:3])


def test_grey_images_get_a_channel(load, arrays):
    data = load({key: array[..., 0] if key[0] == "x" else array for key, array in arrays.items()})
    assert data.train.shape == (4, 5, 1)
    assert len(data.prepare.mean) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, r"own.npz lacks y_test; it has x_train, y_train, x_test"),
        ({"x_val": np.zeros((1, 4, 5, 3), np.uint8)}, "has x_val alone"),
        ({"y_train": np.zeros(59, int)}, "60 images but 59 labels"),
        ({"y_train": np.array([None] * 60)}, "cannot read y_train .objects are pickled"),
        ({"y_test": np.full(9, 3)}, r"npz test: 9 of 9 rows have labels outside 0\.\.2"),
        ({"y_train": np.arange(60) % 3 - 1}, r"npz train: 20 of 60 rows have labels outside"),
        ({"y_train": np.full(60, -1)}, r"60 of 60 rows have labels outside"),
        ({"y_train": np.arange(60) + 1}, "labels reach 60 with only 60 rows"),
        ({"x_test": np.zeros((9, 4, 4, 3), np.uint8)}, r"are \(4, 4, 3\), expected \(4, 5, 3\)"),
        ({"x_test": np.zeros((0, 4, 5, 3), np.uint8), "y_test": np.zeros(0, int)}, "no images"),
    ],
)
def test_unfit_arrays(load, arrays, changes, message):
    arrays = {key: array for key, array in (arrays | changes).items() if array is not None}
    with pytest.raises(UserError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        load(arrays)


def test_one_row_a_class_leaves_nothing_to_validate_on(load, arrays):
    few = arrays | {"x_train": arrays["x_train"][:3], "y_train": np.arange(3)}
    with pytest.raises(UserError, match="leaves nothing to validate on"):
        load(few)


def test_a_folder_where_a_file_is_wanted(tmp_path):
    with pytest.raises(UserError, match=r"is a directory; expected one .npz file"):
        load_dataset("npz", tmp_path)


def test_no_zip_or_a_damaged_one(load, arrays, tmp_path):
    load(arrays)
    path = tmp_path / "own.npz"
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", arrays["x_train"])
    for content in (whole[: len(whole) // 2], b"", (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a complete \.npz file"):
            load_dataset("npz", path)
    path.write_bytes(whole[:2000] + bytes(255 - byte for byte in whole[2000:2100]) + whole[2100:])
    with pytest.raises(UserError, match=r"own.npz is damaged \(Bad CRC"):
        load_dataset("npz", path)


def test_a_pickle_is_never_opened(tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "own.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError):
        load_dataset("npz", tmp_path / "own.npz")
    trapped = np.empty(1, object)
    trapped[0] = Trap()
    np.savez(tmp_path / "own.npz", x_train=trapped, y_train=trapped, x_test=trapped, y_test=trapped)
    with pytest.raises(UserError, match="store plain numeric arrays"):
        load_dataset("npz", tmp_path / "own.npz")
    assert not (tmp_path / "sprung").exists()
