"""The errors that a user can act on, each with the exit code that the command line ends with.

========  ==============================================================
exit 0    good
exit 1    a quality regression
exit 2    an integrity failure: something is corrupt, missing or stale
exit 3    not comparable: another dataset, protocol or signature
exit 4    bad input: a file, a key or a value that cannot be used
========  ==============================================================

A message is one line: what is wrong, where, and what to do about it.
"""

import difflib
from collections.abc import Sequence


class GmsdiError(Exception):
    """Base of every error that ends the command line with one clear line instead of a traceback."""

    exit_code = 4


class BadInputError(GmsdiError):
    """A file, a key or a value that cannot be used (exit 4)."""

    exit_code = 4


class NotComparableError(GmsdiError):
    """Two numbers of different datasets, protocols or signatures were put side by side (exit 3)."""

    exit_code = 3


class IntegrityError(GmsdiError):
    """Something recorded is corrupt, missing or stale (exit 2)."""

    exit_code = 2


def one_line(error: object) -> str:
    """A message of another library as one line."""
    return " ".join(str(error).split())


def near(name: str, names: Sequence[str], cutoff: float = 0.6) -> str:
    """What to say of an unknown name: the known ones that are like it, or all of them."""
    alike = difflib.get_close_matches(name, names, n=3, cutoff=cutoff)
    return f"; did you mean {' or '.join(alike)}?" if alike else f"; there are {', '.join(names)}"
