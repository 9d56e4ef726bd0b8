"""The one exception for input that a user can mend, and the one did-you-mean."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message is one line and says what to do; the command exits with status 2."""


class Diverged(UserError):
    """Training that came to nothing: a loss that is no number. Other runs may go on."""


def no_such(kind: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a mistyped name: what there is, and the nearest to it, whatever the case.

    >>> str(no_such("fruit", "APPEL", ["apple", "pear"]))
    "no fruit named 'APPEL'; there are apple, pear. Did you mean 'apple'?"
    """
    names = list(known)
    lower = {n.lower(): n for n in reversed(names)}
    close = difflib.get_close_matches(str(name).lower(), list(lower), n=1)
    hint = f" Did you mean {lower[close[0]]!r}?" if close else ""
    return UserError(f"no {kind} named {name!r}; there are {', '.join(names)}.{hint}")
