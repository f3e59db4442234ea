"""declare outputs worthless, or that they are not: UNIT… reason="…" [author=…] [undo=true] [store=DIR]

UNIT is the id of a unit, or at least its first 8 digits (a table's json lists the units behind each row). Nothing is deleted: tables
leave out and count the songs, with the reason, and `gmsdi run` does not make them again. undo=true takes it back.
"""

import getpass
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from gmsdi.errors import BadInputError, near

KEYS = ("reason", "author", "undo", "store")
FEWEST = 8
"""Digits of a unit's id that it can be told by."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="+", metavar="UNIT|KEY=VALUE", help="units, reason=, author=, undo=, store=")


def run(options: Namespace) -> int:
    from benchmarks import config
    from benchmarks.identity import short
    from benchmarks.notices import say
    from benchmarks.store.store import open_store

    given = dict(word.split("=", 1) for word in options.overrides if "=" in word)
    words = [word for word in options.overrides if "=" not in word]
    if unknown := next((key for key in given if key not in KEYS), None):
        raise BadInputError(f"unknown key {unknown!r}{near(unknown, KEYS)}")
    if not words or not given.get("reason", "").strip():
        raise BadInputError('give units and reason="…"')
    if given.get("undo", "true") not in ("true", "false"):
        raise BadInputError(f"undo={given['undo']}: true or false")
    store = open_store(given.get("store") or config.load([]).store)
    units = [_found(word, list(store.outputs), str(store.root)) for word in words]
    undo = given.get("undo") == "true"
    store.invalidate(units, given.get("author") or getpass.getuser(), given["reason"].strip(), undo)
    for unit in units:
        say(f"{short(unit)}: {'counts again' if undo else 'invalidated'}; `gmsdi table` says so")
    return 0


def _found(word: str, known: Sequence[str], where: str) -> str:
    """The unit that a word names; ``BadInputError`` unless it is exactly one."""
    fitting = [unit for unit in known if unit.startswith(word)] if len(word) >= FEWEST else []
    if len(fitting) != 1:
        how = f"fits {len(fitting)} units" if len(word) >= FEWEST else f"is shorter than {FEWEST} digits"
        raise BadInputError(f"{word}: {how} of {where}; take an id from a table's json")
    return fitting[0]
