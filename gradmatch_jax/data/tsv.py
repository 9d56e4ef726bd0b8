"""Texts of one's own: files of `label<TAB>text`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.files import read_bytes
from gradmatch_jax.data.splits import Parts, Split
from gradmatch_jax.data.words import encode, make_vocabulary, split_words
from gradmatch_jax.errors import UserError

_WANTS = "NAME.train.tsv and NAME.test.tsv (NAME.dev.tsv where there is one)"
_DEV = ("dev", "val", "valid", "validation")
_SHARE = 99  # percent of the training texts that are not cut short
_MOST_IDS = 1 << 30  # 4 GiB of them: one long text in a hundred sets the length of all
_MOST_DIGITS = 18  # labels this short are sorted as numbers


class Lines(NamedTuple):
    """A file's rows, and where each stands in it."""

    path: Path
    labels: list[str]
    texts: list[list[str]]
    numbers: list[int]


def read_tsv(path: Path | None) -> Parts:
    """Read texts with a label each, UTF-8, a line `label<TAB>text` each.

    A first line that says `label<TAB>text` is a heading; empty lines are skipped; the text goes on
    to the end of its line, further tabs included. Labels are any strings: they become the class
    names, those of the training file, sorted (as numbers where all are).

    The vocabulary is the training file's: lower-case words and punctuation marks seen twice or
    more, the 20,000 most frequent of them. A text's first words count, as many as the longest
    but 1 % of the training texts have.

    path: the training file NAME.train.tsv (NAME. may lack), or NAME with its folder, or a folder
      that holds one set. NAME.test.tsv stands beside it, NAME.dev.tsv (val, valid, validation)
      may; otherwise the validation set is cut from the training set.

    Raises:
      UserError: files are missing; a line has no tab, is no UTF-8, or has a label that the
        training file lacks, with its number; a file is empty, or has one class only.
    """
    prefix = _find(path)
    train = _read(Path(f"{prefix}train.tsv"))
    test = _read(Path(f"{prefix}test.tsv"))
    found = [Path(f"{prefix}{part}.tsv") for part in _DEV]
    dev = next((_read(file) for file in found if file.is_file()), None)
    names = _classes(train)
    vocabulary = make_vocabulary(train.texts)
    lengths = [len(text) for text in train.texts]
    length = max(1, int(np.percentile(lengths, _SHARE, method="higher")))

    def split(lines: Lines) -> Split:
        if length * len(lines.texts) > _MOST_IDS:
            raise UserError(
                f"{lines.path}: {len(lines.texts)} texts of up to {length} words are too much to "
                "hold; cut the texts"
            )
        labels = _number(lines, names, train.path)
        return make_split(str(lines.path), encode(lines.texts, vocabulary, length), labels)

    validation = None if dev is None else split(dev)
    return Parts(split(train), split(test), validation, names, vocabulary)


def _find(path: Path | None) -> str:
    """What stands before train.tsv, test.tsv and dev.tsv."""
    if path is None:
        raise UserError(f"tsv needs --data-dir: a folder with {_WANTS}, or FOLDER/NAME")
    if path.is_dir():
        found = sorted(path.glob("*train.tsv"))
        if not found:
            raise UserError(f"{path} has no file *train.tsv; it should hold {_WANTS}")
        if len(found) > 1:
            names = [file.name.removesuffix("train.tsv").rstrip(".") for file in found]
            raise UserError(
                f"{path} holds several sets ({', '.join(names)}); name one: "
                f"--data-dir {path / names[0]}"
            )
        train = found[0]
    elif path.is_file():
        train = path
    else:
        train = path.parent / f"{path.name}.train.tsv"
    if not train.name.endswith("train.tsv"):
        raise UserError(f"{train} is not called *train.tsv; tsv reads {_WANTS}")
    prefix = str(train).removesuffix("train.tsv")
    for part in ("train", "test"):
        if not Path(f"{prefix}{part}.tsv").is_file():
            raise UserError(f"{prefix}{part}.tsv does not exist; tsv reads {_WANTS}")
    return prefix


def _read(path: Path) -> Lines:
    lines = Lines(path, [], [], [])
    # On line feeds alone: str.splitlines also breaks at characters that texts hold.
    for number, raw in enumerate(read_bytes(path).split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}, line {number}: no UTF-8; convert the file") from error
        label, tab, text = line.partition("\t")
        if not line.strip() or (number == 1 and line.strip().lower() == "label\ttext"):
            continue
        if not tab or not label.strip():
            what = "no label before the tab" if tab else "no tab"
            raise UserError(f"{path}, line {number}: {what}; a line is label<TAB>text")
        lines.labels.append(label.strip())
        lines.texts.append(split_words(text))
        lines.numbers.append(number)
    if not lines.labels:
        raise UserError(f"{path} has no rows; a line is label<TAB>text")
    return lines


def _classes(train: Lines) -> tuple[str, ...]:
    names = sorted(set(train.labels))
    if len(names) == 1:
        raise UserError(
            f"{train.path}: all rows are of class {names[0]!r}; there must be two classes or more"
        )
    if len(names) == len(train.labels) > 2:
        raise UserError(
            f"{train.path}: each of its {len(names)} rows has a label of its own, such as "
            f"{names[0][:40]!r}; a line is label<TAB>text"
        )
    if all(name.isdecimal() and len(name) <= _MOST_DIGITS for name in names):
        names.sort(key=int)
    return tuple(names)


def _number(lines: Lines, names: Sequence[str], train: Path) -> np.ndarray:
    position = {name: i for i, name in enumerate(names)}
    for label, number in zip(lines.labels, lines.numbers, strict=True):
        if label not in position:
            raise UserError(
                f"{lines.path}, line {number}: label {label[:40]!r} is not among those of {train}"
            )
    return np.array([position[label] for label in lines.labels], np.int32)
