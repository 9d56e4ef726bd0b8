"""An .npz from anywhere: code, lies and bombs are one line each, before memory is taken."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from gradmatch_jax.commands.select import SelectConfig, select_file
from gradmatch_jax.data import load_dataset
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.errors import UserError


def npy(header: str, content: bytes = b"", *, version: int = 1) -> bytes:
    text = header.encode("latin-1") + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


def plain(shape: str, content: bytes = b"", descr: str = "'|u1'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", content)


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def read(content: bytes) -> np.ndarray:
    return read_arrays(io.BytesIO(content), "own.npz", ("a",))["a"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "<i2", ">i4", "<i8", "<f2", ">f4", "<f8", "<c8", "<U3", "S4", "<M8"]
)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0, 2), (2, 3, 4), (1,) * 30])
def test_what_numpy_writes_is_read_as_numpy_reads_it(dtype, order, shape):
    dtype = np.dtype(dtype)
    values = np.random.default_rng(0).integers(0, 2, int(np.prod(shape)) * dtype.itemsize, np.uint8)
    array = (
        values.view(dtype).reshape(shape, order=order) if values.size else np.empty(shape, dtype)
    )
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, a=array, b=np.arange(3))
        ours, theirs = read(out.getvalue()), np.load(io.BytesIO(out.getvalue()))["a"]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()
        assert ours.flags.f_contiguous == theirs.flags.f_contiguous


def test_headers_of_other_writers():
    text = '{"descr": "|u1", "fortran_order": False, "shape": (3,)}'
    np.testing.assert_array_equal(read(zipped({"a.npy": npy(text, b"abc")})), [97, 98, 99])
    old = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3L,), }", b"abc")
    np.testing.assert_array_equal(read(zipped({"a.npy": old})), [97, 98, 99])
    for version in (2, 3):
        text = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"
        np.testing.assert_array_equal(
            read(zipped({"a.npy": npy(text, b"abc", version=version)})), [97, 98, 99]
        )


CODE = "__import__('os').system('touch sprung')"
LIES = {
    "36 TiB": (plain("(6291456, 6291456)", b"x"), "holds 1 bytes, its header says 39582418599936"),
    "2^63": (plain("(9223372036854775807, 9223372036854775807)"), "its header says 8507"),
    "longer": (plain("(3,)", b"abcd"), "it holds 4 bytes, its header says 3"),
    "shorter": (plain("(3,)", b"ab"), "it holds 2 bytes, its header says 3"),
    "negative": (plain("(-3,)", b"abc"), "its header is no plain array's"),
    "code": (plain(f"({CODE},)"), "its header is no plain array's"),
    "code as type": (plain("(3,)", b"abc", CODE), "its header is no plain array's"),
    "brackets": (plain("(" * 1500), "its header is no plain array's"),
    "digits": (plain("(" + "1" * 3000 + ",)"), "its header is no plain array's"),
    "many axes": (plain("(" + "1," * 900 + ")", b"a"), "is damaged"),
    "long header": (npy(" " * 9000), "its header says that it has 9001 bytes"),
    "a structure": (plain("(1,)", b"abc", "[('x', '|u1')]"), "its header is no plain array's"),
    "objects": (plain("(1,)", b"abcdefgh", "'|O'"), "objects are pickled, which is never opened"),
    "no such type": (plain("(1,)", b"abc", "'<f3'"), "is damaged"),
    "of no size": (plain("(5,)", b"", "'|S0'"), "is damaged"),
    "text": (b"1,2,3", "it is no .npy array"),
    "nothing": (b"", "it is no .npy array"),
    "magic alone": (b"\x93NUMPY\x01\x00", "its header is no plain array's"),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = LIES[name]
    with pytest.raises(UserError, match=r"\A[^\n]*\Z") as caught:
        read(zipped({"a.npy": content}))
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_bomb_takes_no_memory():
    bomb = zipped({"a.npy": plain("(2000000000,)") + bytes(1 << 22)}, zipfile.ZIP_DEFLATED)
    # its true size is 4 MiB; it says 2 GB in both of the zip's own headers
    said = struct.pack("<I", 2_000_000_000 + len(plain("(2000000000,)")))
    true = struct.pack("<I", (1 << 22) + len(plain("(2000000000,)")))
    assert bomb.count(true) == 2
    tracemalloc.start()
    with pytest.raises(UserError, match=r"its \d+ bytes unpack to 2000000\d+; if that is meant"):
        read(bomb.replace(true, said))
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def marked(content: bytes, offset: int, value: int) -> bytes:
    """`content` with a field of the zip's central directory set."""
    at = content.index(b"PK\x01\x02") + offset
    return content[:at] + struct.pack("<H", value) + content[at + 2 :]


def test_entries_that_numpy_does_not_write():
    good = plain("(3,)", b"abc")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(UserError, match=rf"own.npz: a is packed by zip method {method}; "):
            read(zipped({"a.npy": good}, method))
    with pytest.raises(UserError, match=r"own.npz: a is packed by zip method 97"):
        read(marked(zipped({"a.npy": good}), 10, 97))
    with pytest.raises(UserError, match=r"own.npz: a is encrypted"):
        read(marked(zipped({"a.npy": good}), 8, 1))
    with pytest.raises(UserError, match=r"own.npz lacks a; it has nothing"):
        read(zipped({"a": good, "a.txt": b"x"}))
    twice = zipped({"a.npy": good, "b.npy": plain("(3,)", b"xyz")}).replace(b"b.npy", b"a.npy")
    with pytest.raises(UserError, match=r"own.npz: a is in it 2 times; keep one"):
        read(twice)
    many = zipped({f"entry\n{i}.npy": b"" for i in range(500)})
    with pytest.raises(UserError, match=r"\A[^\n]{,300}\Z"):
        read(many)


def test_one_flipped_bit_is_seen_or_changes_nothing():
    content = zipped({"a.npy": plain("(40,)", bytes(range(40)))})
    whole, seen = read(content), 0
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            np.testing.assert_array_equal(read(bytes(flipped)), whole)
        except UserError as error:
            seen += len(str(error).splitlines())
    assert len(content) * 4 < seen < len(content) * 8


def test_select_and_the_data_set_read_alike(tmp_path):
    names = ("logits", "features", "labels")
    path = tmp_path / "in.npz"
    path.write_bytes(zipped({f"{name}.npy": LIES["36 TiB"][0] for name in names}))
    config = SelectConfig(input=path, budget=1, out=tmp_path / "out.npz")
    with pytest.raises(UserError, match=r"--input .*in.npz: cannot read logits: it holds 1 bytes"):
        select_file(config)
    path.write_bytes(zipped({"logits.npy": plain("(3,)", b"abc")}))
    with pytest.raises(UserError, match=r"lacks features, labels; it needs logits \(n, C\)"):
        select_file(config)
    with pytest.raises(UserError, match=r"lacks x_train, y_train, x_test, y_test; it has logits"):
        load_dataset("npz", path)
    assert not config.out.exists()
