"""Texts from `label<TAB>text` files: TREC, words against an oracle, and what is refused."""

from collections import Counter

import numpy as np
import pytest

from gradmatch_jax.data import Tokens, load_dataset
from gradmatch_jax.data.words import decode, encode, make_vocabulary, split_words
from gradmatch_jax.errors import UserError

TRAIN = "label\ttext\n" + "pos\tA fine film, fine!\nneg\ta dull film\n" * 10


@pytest.fixture
def write(tmp_path):
    def files(train=TRAIN, test="pos\tfine\nneg\tunheard dull\n", **others):
        for part, text in {"train": train, "test": test, **others}.items():
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / f"own.{part}.tsv").write_bytes(content)
        return tmp_path

    return files


def test_trec(shared_data):
    data = load_dataset("tsv", shared_data / "text" / "trec")
    assert (len(data.train) + len(data.validation), len(data.test)) == (5452, 500)
    assert data.class_names == tuple("012345")
    assert data.prepare == Tokens()
    rows = (shared_data / "text" / "trec.test.tsv").read_text(encoding="utf-8").split("\n")[1:]
    for i in (0, 17, 499):
        label, text = rows[i].split("\t")
        assert data.class_names[data.test.labels[i]] == label
        words = decode(data.test.inputs[i], data.vocabulary).split(" ")
        assert len(words) == len(split_words(text))
        assert all(a in (b, "<unk>") for a, b in zip(words, split_words(text), strict=True))


def test_sst2_has_its_own_validation_split(shared_data):
    data = load_dataset("tsv", shared_data / "text" / "sst2.train.tsv")
    assert (len(data.train), len(data.validation), len(data.test)) == (6920, 872, 1821)


def test_the_vocabulary_is_a_count_of_the_training_words(write):
    data = load_dataset("tsv", write())
    counts = Counter(["a", "fine", "film", ",", "fine", "!", "a", "dull", "film"] * 10)
    expected = sorted(counts, key=lambda word: (-counts[word], word))
    assert data.vocabulary == ("", "<unk>", *expected)
    assert data.class_names == ("neg", "pos")
    assert decode(data.test.inputs[1], data.vocabulary) == "<unk> dull"
    assert data.train.shape == (6,)
    assert data.train.inputs.dtype == np.int32


def test_rare_words_are_unknown_and_frequent_ones_come_first():
    texts = [["b", "b", "a", "a", "c", "c", "c", "once"]]
    assert make_vocabulary(texts) == ("", "<unk>", "c", "a", "b")
    assert make_vocabulary(texts, most=1) == ("", "<unk>", "c")
    ids = encode([["c", "once", "a", "b"], []], make_vocabulary(texts), 3)
    np.testing.assert_array_equal(ids, [[2, 1, 3], [0, 0, 0]])


def test_one_long_text_in_a_hundred_is_cut(write):
    train = "a\tx x\nb\tx x\n" * 100 + "a\t" + "x " * 50 + "\n"
    assert load_dataset("tsv", write(train, "a\tx\n")).train.shape == (2,)


def test_lines_are_read_as_they_are(write):
    train = "\ufeffpos\tone\u2028word\ttwo\r\nneg\tword two\r\n\r\n" * 3
    data = load_dataset("tsv", write(train, "pos\tone\n", val="neg\ttwo\n"))
    assert (len(data.train), len(data.validation)) == (6, 1)
    assert data.class_names == ("neg", "pos", "\ufeffpos")  # a mark only a file's start may have
    assert decode(data.train.inputs[0], data.vocabulary) == "one word two"


def test_numbers_are_sorted_as_numbers(write):
    train = "".join(f"{i}\tword\n" for i in (10, 2, 1) * 4)
    assert load_dataset("tsv", write(train, "2\tword\n")).class_names == ("1", "2", "10")


def test_the_ways_to_name_a_set(write, tmp_path):
    write()
    for path in (tmp_path, tmp_path / "own", tmp_path / "own.train.tsv"):
        assert load_dataset("tsv", path).num_classes == 2
    (tmp_path / "other.train.tsv").write_text("x")
    with pytest.raises(UserError, match=r"holds several sets \(other, own\); name one: --data-dir"):
        load_dataset("tsv", tmp_path)
    assert load_dataset("tsv", tmp_path / "own").num_classes == 2
    (tmp_path / "bare").mkdir()
    for part in ("train", "test"):
        (tmp_path / "bare" / f"{part}.tsv").write_text(TRAIN)
    assert len(load_dataset("tsv", tmp_path / "bare").test) == 20


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": TRAIN + "pos a line\n"}, r"own.train.tsv, line 22: no tab"),
        ({"train": TRAIN + "\ttext\n"}, r"own.train.tsv, line 22: no label before the tab"),
        ({"train": b"pos\tfine\nneg\tna\xefve\n"}, r"own.train.tsv, line 2: no UTF-8"),
        ({"train": ""}, r"own.train.tsv has no rows"),
        ({"test": "label\ttext\n"}, r"own.test.tsv has no rows"),
        ({"train": "pos\tfine\n" * 3}, r"own.train.tsv: all rows are of class 'pos'"),
        ({"test": "pos\tx\nbad\ty\n"}, r"own.test.tsv, line 2: label 'bad' is not among those of"),
        ({"dev": "label\ttext\nbad\ty\n"}, r"own.dev.tsv, line 2: label 'bad' is not among"),
        ({"train": "one text\tpos\nanother\tneg\na third\tpos\n"}, "has a label of its own"),
    ],
)
def test_unfit_files(write, files, message):
    with pytest.raises(UserError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        load_dataset("tsv", write(**files))


def test_missing_files(write, tmp_path):
    with pytest.raises(UserError, match=r"has no file \*train.tsv; it should hold NAME.train.tsv"):
        load_dataset("tsv", tmp_path)
    write()
    (tmp_path / "own.test.tsv").unlink()
    with pytest.raises(UserError, match=r"own.test.tsv does not exist"):
        load_dataset("tsv", tmp_path)
    (tmp_path / "own.txt").write_text("x")
    with pytest.raises(UserError, match=r"own.txt is not called \*train.tsv"):
        load_dataset("tsv", tmp_path / "own.txt")
