"""Errors are one line, whatever they quote."""

import errno

import pytest

from gradmatch_jax.errors import Blocked, Diverged, Stopped, UserError, blocked, no_such


@pytest.mark.parametrize("kind", [UserError, Diverged, Blocked, Stopped])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain: 20 % of 'é' ≥ 1", "plain: 20 % of 'é' ≥ 1"),
        ("two\nlines", "two lines"),
        ("two\r\nlines\n", "two lines"),
        ("a\tb\x0bc\x0cd\x1ce\x85f\u2028g\u2029h", "a b c d e f g h"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("null \0", "null \\x00"),
        ("not UTF-8: \udcff", "not UTF-8: \\udcff"),
        ("right\u202eto left", "right\\u202eto left"),
    ],
)
def test_one_line_without_control_characters(kind, text, said):
    found = str(kind(text))
    assert found == said
    assert len(found.splitlines()) == 1
    found.encode()  # it can be printed


def test_names_and_causes_with_line_breaks():
    for error in (
        no_such("model", "a\nb", ["lenet\n"]),
        blocked("--out a\nb", OSError("two\nlines")),
        blocked("--out a\nb", OSError(errno.ENOSPC, "full")),
    ):
        assert "\n" not in str(error)
