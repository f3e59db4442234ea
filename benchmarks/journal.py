"""Append-only records on a shared file system: every append is a new file, complete or absent; no record is ever changed.

Any number of processes on any number of machines may append at once. A reader sees what was complete when it looked; records come in
the order in which they were appended. Many small segments are merged into one by ``compact``, so a reader may meet a record again:
the last of equal keys holds.
"""

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import dropwhile
from pathlib import Path
from typing import Any

from benchmarks.identity import canonical
from gmsdi import audio
from gmsdi.errors import IntegrityError

Record = dict[str, Any]


class Journal:
    """The records of one kind in ``folder``; remembers which segments it has read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: set[str] = set()

    def append(self, records: Iterable[Record]) -> None:
        """Write records as one new segment, on disk before this returns."""
        self._write(f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", list(records))

    def refresh(self) -> Iterator[Record]:
        """The records that were appended, by anyone, since the last call; those that follow them in order come again."""
        while rest := list(dropwhile(lambda segment: segment.name in self._seen, self._segments())):
            for segment in rest:
                self._seen.add(segment.name)
                # merged away since the folder was listed: the next look finds where to
                with suppress(FileNotFoundError):
                    yield from _records(segment)

    def compact(self) -> None:
        """Merge all segments into one, in the place of the last, so that the order holds.

        Safe at any moment: the merged segment is there before the others go.
        """
        segments = self._segments()
        if len(segments) > 1:
            try:
                records = [record for segment in segments for record in _records(segment)]
            except FileNotFoundError:
                return  # another process is at it
            self._write(f"{segments[-1].stem}-{uuid.uuid4().hex[:8]}", records)
            for segment in segments:
                segment.unlink(missing_ok=True)

    def _write(self, name: str, records: list[Record]) -> None:
        if records:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{name}.jsonl"
            with audio.atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.writelines(canonical(record) + "\n" for record in records)

    def _segments(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.jsonl") if not path.name.startswith("."))


def _records(segment: Path) -> list[Record]:
    """The records of a segment, one a line."""
    try:
        with segment.open(encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
    except ValueError:
        records = []
    if not all(isinstance(record, dict) for record in records) or not records:
        raise IntegrityError(f"{segment}: damaged; remove the file, and what it recorded will be done again")
    return records
