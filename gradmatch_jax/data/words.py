"""From texts to token ids and back: words counted on the training texts, nothing learned."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

PADDING, UNKNOWN = "", "<unk>"  # ids 0 and 1
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks, in order.

    >>> split_words("What's a caldera, and WHERE?")
    ["what's", 'a', 'caldera', ',', 'and', 'where', '?']
    """
    return _WORD.findall(text.lower())


def make_vocabulary(
    texts: Sequence[Sequence[str]], *, most: int = 20_000, least: int = 2
) -> tuple[str, ...]:
    """Padding, <unk>, and the `most` frequent words seen `least` times or more.

    What is rarer becomes <unk>, which so has something to be trained on. Words of one frequency
    come in alphabetical order.
    """
    counts = Counter(word for text in texts for word in text)
    known = sorted((-n, word) for word, n in counts.items() if n >= least)[:most]
    return (PADDING, UNKNOWN, *(word for _, word in known))


def encode(
    texts: Sequence[Sequence[str]], vocabulary: Sequence[str], length: int
) -> Int32[np.ndarray, "n length"]:
    """The first `length` words of each text as positions in the vocabulary, padded with 0."""
    position = {word: i for i, word in enumerate(vocabulary)}
    unknown = position[UNKNOWN]
    ids = np.zeros((len(texts), length), np.int32)
    for row, text in zip(ids, texts, strict=True):
        known = [position.get(word, unknown) for word in text[:length]]
        row[: len(known)] = known
    return ids


def decode(ids: Int32[np.ndarray, " length"], vocabulary: Sequence[str]) -> str:
    """The words of one row of ids, without its padding."""
    return " ".join(vocabulary[int(i)] for i in ids if i != 0)
