"""The exceptions for what a user can mend, and the one did-you-mean."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def on_one_line(text: str) -> str:
    r"""`text` without line breaks and with every other control character spelt out.

    >>> on_one_line("a name\nof \x1b[31m two lines")
    'a name of \\x1b[31m two lines'
    """
    joined = " ".join(text.splitlines()).replace("\t", " ")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in joined)


class UserError(ValueError):
    """Bad input. The message is one line and says what to do; the command exits with status 2."""

    def __init__(self, message: str) -> None:
        """The message, on one line whatever names and other libraries' words it quotes."""
        super().__init__(on_one_line(message))


class Diverged(UserError):
    """Training that came to nothing: a loss that is no number. Other runs may go on."""


class Blocked(UserError):
    """What stands in the way of other runs as well: a full disk, another process in the folder."""


class Stopped(Exception):
    """A run was asked to stop and did. The message says what is kept and how to go on."""

    def __init__(self, message: str) -> None:
        """The message, on one line as a `UserError`'s."""
        super().__init__(on_one_line(message))


_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "make space, then do the same again",
    (errno.EROFS,): "it cannot be written to; name another place",
    (errno.EACCES, errno.EPERM): "name a place that is yours, or change its permissions",
    (errno.ENAMETOOLONG,): "name a shorter one",
    (errno.EEXIST, errno.ENOTDIR): "a file or a link that leads nowhere is in the way; "
    "remove it or name another place",
    (errno.ENOENT,): "there is no such place; name another",
    (errno.ELOOP,): "its links lead in a circle; name another place",
}


def blocked(what: object, error: OSError) -> Blocked:
    """The one line for what an operating system refuses: the cause, and what to do.

    >>> str(blocked("--out runs", OSError(28, "")))
    '--out runs: No space left on device; make space, then do the same again'
    """
    cause = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    known = (remedy for codes, remedy in _REMEDIES.items() if error.errno in codes)
    return Blocked(f"{what}: {cause}; {next(known, 'name another place')}")


@contextmanager
def explained(what: object) -> Iterator[None]:
    """Every `OSError` of the block in one line, as `blocked` says it of `what`."""
    try:
        yield
    except OSError as error:
        raise blocked(what, error) from error


def no_such(kind: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a mistyped name: what there is, and the nearest to it, whatever the case.

    >>> str(no_such("fruit", "APPEL", ["apple", "pear"]))
    "no fruit named 'APPEL'; there are apple, pear. Did you mean 'apple'?"
    """
    names = list(known)
    lower = {n.lower(): n for n in reversed(names)}
    close = difflib.get_close_matches(str(name).lower(), list(lower), n=1)
    hint = f" Did you mean {lower[close[0]]!r}?" if close else ""
    return UserError(f"no {kind} named {name!r}; there are {', '.join(names) or 'none'}.{hint}")
