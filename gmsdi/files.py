"""Files by content: what a system is made from has to be what it was identified by.

Minutes lie between the plan and the work, on a cluster hours, and a file can be replaced meanwhile. So the files whose hashes went
into an identity are pinned to them. They are compared when they are read, and once more before a result counts.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from gmsdi.errors import BadInputError, IntegrityError

Pins = Mapping[str, str]
"""The sha256 of files by their absolute paths."""

State = tuple[int, int, int, int, int]
"""Device, inode, size, and times of modification and of change in ns: whoever writes to a file or replaces it changes one of them."""

_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)
_pins: ContextVar[Pins | None] = ContextVar("pins", default=None)


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal. A file is not read again until its ``State`` is another."""
    now = state(path)
    if now is None:
        raise _missing(path)
    found = _of_state(path, now)
    _note(path, found)
    return found


def content(path: Path) -> str | dict[str, str]:
    """The sha256 of a file, or of all files below a folder by their places in it; links are followed.

    ``BadInputError`` when there is no such file or folder, and for links that lead in a circle.
    """
    if path.is_dir():
        return {file.relative_to(path).as_posix(): sha256(file) for file in _below(path)}
    return sha256(path)


def by_content(value: Any) -> Any:
    """``value`` with each ``Path`` in it, also in lists and mappings, replaced by the ``content`` that it leads to.

    ``BadInputError`` for a text that is written as a path and leads to something: what it is a path of would not count.
    """
    match value:
        case Path():
            return content(value)
        case str() if _names_a_file(value):
            raise BadInputError(
                f"{value}: is a file, but the argument is not declared as a Path, so its content would not count; declare it as one"
            )
        case Mapping():
            return {name: by_content(item) for name, item in value.items()}
        case list() | tuple():
            return [by_content(item) for item in value]
    return value


def read(path: Path) -> tuple[bytes, str]:
    """All bytes of a file and their sha256; ``IntegrityError`` when the file is pinned to others, or is new where files are pinned."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
    found = hashlib.sha256(data).hexdigest()
    _note(path, found)
    _require_pinned(path, found)
    return data, found


def state(path: Path) -> State | None:
    """The state of a file; None when it is not there."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def noted() -> Iterator[dict[str, str]]:
    """Every file that is hashed or read meanwhile, with its sha256: the pins of what is being identified."""
    pins: dict[str, str] = {}
    token = _noted.set(pins)
    try:
        yield pins
    finally:
        _noted.reset(token)


@contextmanager
def pinned(pins: Pins) -> Iterator[None]:
    """Meanwhile ``read`` accepts the files of ``pins`` alone."""
    token = _pins.set(pins)
    try:
        yield
    finally:
        _pins.reset(token)


def verify(pins: Pins) -> dict[str, State]:
    """The states of pinned files; ``IntegrityError`` if one is not what it is pinned to. Only files of another state are read again."""
    states = {}
    for path in pins:
        now = state(Path(path))
        if now is None or _of_state(Path(path), now) != pins[path]:
            raise _changed(path)
        states[path] = now
    return states


@contextmanager
def loading(pins: Pins) -> Iterator[None]:
    """Meanwhile ``read`` accepts pinned files alone, and files that are read in other ways must not even be replaced by equal ones."""
    before = verify(pins)
    with pinned(pins):
        yield
    after = verify(pins)
    if moved := next((path for path in pins if after[path] != before[path]), None):
        raise _changed(moved)


def _require_pinned(path: Path, found: str) -> None:
    if (pins := _pins.get()) is None:
        return
    known = pins.get(_absolute(path))
    if known is None:
        raise IntegrityError(f"{path}: was not there when the run was planned; run again")
    if known != found:
        raise _changed(path)


@lru_cache(maxsize=100_000)
def _of_state(path: Path, _: State) -> str:
    """Systems share weights, and those of the papers' size are gigabytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None


def _names_a_file(text: str) -> bool:
    return ("/" in text or text.startswith("~") or bool(Path(text).suffix)) and Path(text).expanduser().exists()


def _below(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their places in it."""
    found: list[Path] = []
    todo: list[tuple[Path, frozenset[Path]]] = [(folder, frozenset())]
    while todo:
        here, above = todo.pop()
        real = here.resolve()
        if real in above:
            raise BadInputError(f"{here}: a link to a folder above it; remove it")
        for entry in here.iterdir():
            if entry.is_dir():
                todo.append((entry, above | {real}))
            elif entry.is_file():
                found.append(entry)
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _note(path: Path, found: str) -> None:
    if (pins := _noted.get()) is not None:
        pins[_absolute(path)] = found


def _absolute(path: Path) -> str:
    return str(path.absolute())


def _missing(path: Path) -> BadInputError:
    return BadInputError(f"{path}: no such file or folder")


def _changed(path: Path | str) -> IntegrityError:
    return IntegrityError(
        f"{path}: is not the file any more that the run was planned with, so nothing made from it is kept; "
        "put it back, or run again for a row of its own"
    )
