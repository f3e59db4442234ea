"""Append-only records on a shared file system. Each append writes a new file, a segment, which appears complete or not at all.

Each line carries a checksum of itself, and the last line of a segment one of all lines: a record that is edited, moved or taken out is
found when it is read.

Any number of processes on any number of machines may append at once. A reader gets the records in the order in which they were
appended. ``compact`` merges many small segments into few, after which a reader may get a record again: of records with the same key
the last one counts.
"""

import errno
import hashlib
import json
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any

from benchmarks.identity import canonical
from gmsdi import audio
from gmsdi.errors import IntegrityError

Record = dict[str, Any]

LARGE = 16 * 2**20
"""Bytes above which a segment is not merged any more, so that no record is copied more than a few times."""


class Journal:
    """The records of one kind in ``folder``, each with at least ``fields``; remembers which segments it has read."""

    def __init__(self, folder: Path, fields: Collection[str] = ()) -> None:
        self.folder = folder
        self.fields = frozenset(fields)
        self.segments = 0  # how many there were at the last look
        self._seen: set[str] = set()

    def append(self, records: Iterable[Record]) -> None:
        """Write records as one new segment, on disk before this returns."""
        self._write(f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", [_sealed(canonical(record)) for record in records])

    def refresh(self) -> Iterator[Record]:
        """The records that any process appended since the last call, and again all that come after the first of them in order."""
        while rest := list(dropwhile(self._seen.__contains__, self._segments())):
            for segment in rest:
                self._seen.add(segment)
                # merged away since the folder was listed: the next look finds where to
                with _merged_away():
                    yield from self._records(self.folder / segment)

    def compact(self) -> None:
        """Merge neighbours among the segments, each in the place of the last of them, so that the order holds.

        Safe at any moment: a merged segment is written before the others are removed. If two processes merge at once, records are
        there twice until the next merge, which keeps the last of equal ones.
        """
        with _merged_away():  # another process is at it
            for group in _neighbours(self.folder / segment for segment in self._segments()):
                lines = [line for segment in group for line in self._lines(segment)]
                unique = list(dict.fromkeys(reversed(lines)))
                self._write(f"{group[-1].stem}-{uuid.uuid4().hex[:8]}", reversed(unique))
                for segment in group:
                    segment.unlink(missing_ok=True)

    def _write(self, name: str, lines: Iterable[str]) -> None:
        if lines := list(lines):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{name}.jsonl"
            with audio.atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in [*lines, _seal_of(lines)])

    def _segments(self) -> list[str]:
        """Their names in order. Names, not paths: there are many, and they are listed for every batch."""
        try:
            with os.scandir(self.folder) as entries:
                names = sorted(entry.name for entry in entries)
        except FileNotFoundError:
            names = []
        found = [name for name in names if name.endswith(".jsonl") and not name.startswith(".")]
        self.segments = len(found)
        return found

    def _lines(self, segment: Path) -> list[str]:
        """The lines of a segment, without the last one, each as it was written."""
        try:
            *lines, last = segment.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            raise _damaged(segment) from None
        if f'"{SUM}":' not in last:
            raise _damaged(
                segment, ", or written by an older gmsdi, which had no checksums: then give another store=DIR"
            )
        if not lines or last != _seal_of(lines):  # else each line is what was written, too
            edited = next((number for number, line in enumerate(lines, start=1) if not _is_sealed(line)), None)
            how = f"line {edited} is not what was written" if edited else "lines are missing or in another order"
            raise _damaged(segment, f", {how}")
        return lines

    def _records(self, segment: Path) -> list[Record]:
        """The records of a segment."""
        records: list[Record] = json.loads(f"[{','.join(self._lines(segment))}]")
        for record in records:
            del record[SUM]
        if not all(self.fields <= record.keys() for record in records):
            raise _damaged(segment, ", of another version")
        return records


SUM = "sum"
"""The last field of each line: a hash of the line without it."""


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _sealed(line: str) -> str:
    """The canonical JSON of a record, with its checksum as the last field."""
    return f'{line[:-1]},"{SUM}":"{_hash(line)}"}}'


def _is_sealed(line: str) -> bool:
    return line == _sealed(f"{line.rpartition(',')[0]}}}")


def _seal_of(lines: Sequence[str]) -> str:
    """The last line of a segment."""
    return canonical({"lines": len(lines), SUM: _hash("\n".join(lines))})


def _damaged(segment: Path, how: str = "") -> IntegrityError:
    return IntegrityError(f"{segment}: damaged{how}; remove the file, and what it recorded will be done again")


@contextmanager
def _merged_away() -> Iterator[None]:
    """Ignore that a segment was removed while it is read; on NFS an open file that is removed is a stale handle."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise


def _neighbours(segments: Iterable[Path]) -> Iterator[list[Path]]:
    """Groups of two or more neighbouring segments, each group no larger than ``LARGE``."""
    group: list[Path] = []
    size = 0
    for segment in segments:
        own = segment.stat().st_size
        if group and size + own > LARGE:
            yield from [group] if len(group) > 1 else []
            group, size = [], 0
        group.append(segment)
        size += own
    yield from [group] if len(group) > 1 else []
