"""Originals, archives and pictures from anywhere: checksums, bombs, links, pipes; one line each."""

import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest

from experiments.robustness.samples import samples, write
from gradmatch_jax.data import cifar, files, load_dataset, mat, mnist, svhn
from gradmatch_jax.data.tar import plain_files
from gradmatch_jax.errors import UserError

SAMPLES = samples()
ARCHIVE = "cifar-10-binary.tar.gz"


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def refused(name: str, path, **options) -> str:
    with pytest.raises(UserError) as error:
        load_dataset(name, path, **options)
    return one_line(error)


def test_every_bit_of_an_archives_trailer_is_looked_at(tmp_path):
    """Checksum and length are the last eight bytes: tarfile reads neither."""
    write(SAMPLES["cifar10"], tmp_path)
    path = tmp_path / ARCHIVE
    whole = path.read_bytes()
    for bit in range(64):
        flipped = bytearray(whole)
        flipped[len(whole) - 8 + bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert "truncated or damaged" in refused("cifar10", tmp_path)


@pytest.mark.thorough
def test_a_gzip_bomb_is_bounded(tmp_path):
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1 << 20)
    packed = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    (tmp_path / "a.gz").write_bytes(packed)
    tracemalloc.start()
    with pytest.raises(UserError, match="unpacks to more than 4 MiB; get it from there"):
        files.gunzip(tmp_path / "a.gz", "there", 4 << 20)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def tar(*members: tuple[str, bytes, bytes]) -> bytearray:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/hostname"
            archive.addfile(info, io.BytesIO(content))
    return bytearray(out.getvalue())


def test_members_are_those_that_tarfile_reads():
    contents = {f"n{i}": bytes([i]) * size for i, size in enumerate((0, 1, 511, 512, 513, 5000))}
    archive = tar(*((f"folder/{name}", b"0", data) for name, data in contents.items()))
    found = plain_files(archive, "a.tar", contents)
    assert {name: bytes(view) for name, view in found.items()} == contents
    assert plain_files(archive, "a.tar", ["other"]) == {}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a", tarfile.SYMTYPE, b"")], "a is a link or no plain file"),
        ([("x/a", tarfile.LNKTYPE, b"")], "a is a link or no plain file"),
        ([("a", tarfile.FIFOTYPE, b"")], "a is a link or no plain file"),
        ([("a", b"0", b"1"), ("a", b"0", b"2")], "a is in it twice"),
        ([("x/a", b"0", b"1"), ("y/a", b"0", b"2")], "a is in it twice"),
    ],
)
def test_links_and_second_members_are_refused(members, message):
    with pytest.raises(UserError, match=rf"\Aa.tar: {message}[^\n]*\Z"):
        plain_files(tar(*members), "a.tar", {"a"})
    assert plain_files(tar(*members), "a.tar", {"b"}) == {}


def resized(size: bytes) -> bytearray:
    """An archive whose first header states another size, under a right checksum."""
    archive = tar(("a", b"0", b"12"), ("b", b"0", b"34"))
    archive[124:136] = size.ljust(12, b"\0")
    total = sum(archive[:148]) + 8 * 32 + sum(archive[156:512])
    archive[148:156] = b"%06o\0 " % total
    return archive


@pytest.mark.parametrize("size", [b"77777777777", b"-0000000200", b"\xff" * 12, b"0o17", b"", b"9"])
def test_sizes_that_lie(size):
    with pytest.raises(UserError, match=r"a.tar is truncated or damaged"):
        plain_files(resized(size), "a.tar", {"a", "b"})


def test_a_member_longer_than_the_original(tmp_path):
    write(SAMPLES["cifar10-bins"], tmp_path)
    row = bytes(3073)
    (tmp_path / "test_batch.bin").write_bytes(row * 10_001)
    assert "holds 10001 rows; the original has 10000" in refused("cifar10", tmp_path)
    with (tmp_path / "test_batch.bin").open("wb") as file:
        file.truncate(1 << 42)  # 4 TiB of holes
    assert "holds 4398046511104 bytes" in refused("cifar10", tmp_path)


def test_other_md5s_are_said_once(tmp_path, capsys):
    write(SAMPLES["mnist"], tmp_path)
    for _ in range(2):
        assert len(load_dataset("mnist", tmp_path).test) == 20
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert all(name in said[0] for name in mnist._MD5)


def test_the_published_files_are_read_in_silence(shared_data, capsys):
    load_dataset("mnist", shared_data / "mnist")
    assert capsys.readouterr().err == ""


def test_the_cache_is_compared_with_what_was_published(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "gradmatch-jax" / "cifar10"
    write(SAMPLES["cifar10"], folder)
    with pytest.raises(UserError, match=r"\A[^\n]*is not what was downloaded[^\n]*remove it") as e:
        load_dataset("cifar10")
    assert ARCHIVE in one_line(e)
    md5 = hashlib.md5((folder / ARCHIVE).read_bytes()).hexdigest()
    archive = cifar.CIFAR10.archive._replace(md5=md5)
    same = cifar.read_cifar(cifar.CIFAR10._replace(archive=archive), None)
    assert len(same.train) == 40


def test_svhns_originals_need_no_child(tmp_path, monkeypatch, capsys):
    write(SAMPLES["svhn"], tmp_path)
    read = load_dataset("svhn", tmp_path)
    assert capsys.readouterr().err.count("warning: ") == 1
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in SAMPLES["svhn"].files.items()}
    monkeypatch.setattr(svhn, "_MD5", md5)
    monkeypatch.setattr(mat.subprocess, "run", None)
    again = load_dataset("svhn", tmp_path)
    np.testing.assert_array_equal(read.train.inputs, again.train.inputs)
    np.testing.assert_array_equal(read.test.labels, again.test.labels)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("import os; os.abort()", "SciPy's reader died of it, status -6"),
        ("import time; time.sleep(60)", "no end of it after 1 s"),
        ("bytearray(1 << 40)", "is damaged or no .mat file"),
    ],
)
def test_a_reader_that_dies_or_hangs(child, message, tmp_path, monkeypatch):
    write(SAMPLES["svhn"], tmp_path)
    run = mat.subprocess.run
    monkeypatch.setattr(
        mat.subprocess, "run", lambda command, **rest: run([command[0], "-c", child], **rest)
    )
    monkeypatch.setattr(mat, "_SECONDS", 1)
    assert message in refused("svhn", tmp_path)


def test_folders_pipes_and_loops_in_place_of_files(tmp_path):
    for name, sample in SAMPLES.items():
        if sample.dataset in ("select", "imagenet"):
            continue
        file = next(iter(sample.files))
        for kind in ("folder", "pipe", "loop", "empty"):
            folder = tmp_path / name / kind
            path = write(sample, folder)
            (folder / file).unlink()
            if kind == "folder":
                (folder / file).mkdir()
            elif kind == "pipe":
                os.mkfifo(folder / file)
            elif kind == "loop":
                (folder / file).symlink_to(folder / file)
            else:
                (folder / file).write_bytes(b"")
            refused(sample.dataset, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(tmp_path):
    for name, sample in SAMPLES.items():
        if sample.dataset in ("select", "imagenet"):
            continue
        path = write(sample, tmp_path / name)
        for file in sample.files:
            (tmp_path / name / file).chmod(0)
        assert "Permission denied" in refused(sample.dataset, path)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "imagenet", "npz", "tsv"])
@pytest.mark.parametrize(
    "path", ["x" * 300, "x/" * 3000, "nul\0byte", "a\nline", "/dev/null", "/dev/zero"]
)
def test_paths_that_are_none(name, path):
    refused(name, path)


def test_texts_of_odd_labels_and_lengths(tmp_path, monkeypatch):
    long = f"{'7' * 5000}\tone\n8\ttwo\n" * 10
    (tmp_path / "train.tsv").write_text(long)
    (tmp_path / "test.tsv").write_text(long)
    assert load_dataset("tsv", tmp_path).num_classes == 2
    monkeypatch.setattr("gradmatch_jax.data.tsv._MOST_IDS", 19)
    assert "20 texts of up to 1 words are too much to hold" in refused("tsv", tmp_path)


def test_gunzip_reads_what_gzip_does(tmp_path):
    content = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:10]) + gzip.compress(content[10:]))
    assert files.gunzip(tmp_path / "a.gz", "there") == content
