"""Exclusive leases on a shared file system, by files that only one process can create (no flock: safe on NFS).

A lease on ``key`` is the file ``ey/key.GENERATION``, in a folder named by how the key ends, so that no folder becomes large. Whoever
finds the highest generation stale takes over by creating the next one, which again only one process can; so a lease changes hands at
most once per death. It may be given back between the look and the take-over, and be taken anew: so whoever has created a file looks
again, and steps back from any other that is not stale. A stale lease is one whose process is known to be dead (on this machine) or
whose heartbeat stopped.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

HEARTBEAT = 15.0
"""Seconds between two signs of life."""

STALE = 120.0
"""Seconds without a sign of life after which another process takes over."""

PATIENCE = 0.5
"""Seconds between two looks at what other processes hold."""


class Leases:
    """The leases that this process holds below ``folder``. A context manager: beats while open, releases all on the way out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._owner = json.dumps(
            {
                "host": socket.gethostname(),
                "namespace": _namespace(),
                "pid": os.getpid(),
                "started": _started(os.getpid()),
                "id": uuid.uuid4().hex,
            }
        )

    def __enter__(self) -> "Leases":
        self.folder.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.release(list(self._held))

    def acquire(self, key: str) -> bool:
        """Take the lease if it is free or stale; False while another process holds it."""
        generations = self._generations(key)
        if generations and not _is_stale(generations[-1]):
            return False
        path = self._place(key) / f"{key}.{_generation(generations[-1]) + 1 if generations else 0}"
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("x") as file:
                file.write(self._owner)
        except FileExistsError:
            return False
        except OSError:  # a full disk: a lease without an owner would stay for others to wait for
            path.unlink(missing_ok=True)
            raise
        if any(other != path and not _is_stale(other) for other in self._generations(key)):
            path.unlink(missing_ok=True)
            return False
        with self._lock:
            self._held[key] = path
        return True

    def holds(self, key: str) -> bool:
        """Whether a lease that was acquired is still ours: another takes over from a process that slept for too long."""
        return self._is_ours(self._held[key]) and self._generations(key)[-1:] == [self._held[key]]

    def release(self, keys: Iterable[str]) -> None:
        """Give leases back; the record of what was done under them must be on disk already."""
        for key in keys:
            with self._lock:
                held = self._held.pop(key)
            if not self._is_ours(held):
                continue  # taken over while this process slept, and given back: what is there now is another's
            for path in self._generations(key):
                if _generation(path) <= _generation(held):
                    path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Leave what is held to whoever takes over once this process has ended, which then counts as one that died at it."""
        with self._lock:
            self._held.clear()

    def deaths(self, keys: Iterable[str]) -> dict[str, int]:
        """Of those of ``keys`` whose holder has died, how many did, one after the other, since the lease was last given back."""
        found = {key: self._generations(key) for key in keys}
        return {
            key: _generation(paths[-1]) + int(_is_stale(paths[-1]))
            for key, paths in found.items()
            if paths and (_generation(paths[-1]) or _is_stale(paths[-1]))
        }

    def share(
        self, items: Iterable[T], key: Callable[[T], str], pending: Callable[[list[T]], list[T]], size: int
    ) -> Iterator[list[T]]:
        """Batches of items that no other process has, until every item is done by someone.

        ``pending`` looks at the store afresh and says which of some items are still to do. A batch is released when the next one is
        asked for; items that others hold are looked at again, and taken over when their holder dies. So are those that others took
        over from us.
        """
        waiting = deque(items)
        while waiting:
            batch: list[T] = []
            held: list[T] = []
            while waiting and len(batch) < size:
                item = waiting.popleft()
                (batch if self.acquire(key(item)) else held).append(item)
            todo = pending(batch)  # less what another process finished between our plan and our lease
            if todo:
                yield todo
            held += [item for item in todo if not self.holds(key(item))]
            self.release(key(item) for item in batch)
            if held:
                waiting.extend(pending(held))
            if held and not todo:
                time.sleep(PATIENCE)

    def _generations(self, key: str) -> list[Path]:
        return sorted(self._place(key).glob(f"{key}.*"), key=_generation)

    def _place(self, key: str) -> Path:
        return self.folder / key[-2:]

    def _is_ours(self, path: Path) -> bool:
        try:
            return path.read_text() == self._owner
        except OSError:
            return False

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with self._lock:
                held = list(self._held.values())
            for path in filter(self._is_ours, held):
                with suppress(OSError):  # released since; or the disk is out of order, which the work will tell
                    os.utime(path)


def _generation(path: Path) -> int:
    return int(path.suffix[1:])


def _is_stale(path: Path) -> bool:
    try:
        status = path.stat()
        silent = time.time() - status.st_mtime
        owner = json.loads(path.read_text())
    except FileNotFoundError:
        return False  # released just now: the next look will tell
    except ValueError:
        return silent > HEARTBEAT  # created, but its owner not written, which takes no time: it was killed in between
    return silent > STALE or (status.st_uid == os.getuid() and _is_dead(owner))


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether a process of our own user is known to be dead. False if /proc does not show it here, or would not say."""
    try:
        here = owner["host"] == socket.gethostname() and owner.get("namespace", "") == _namespace() != ""
        return here and _started(owner["pid"]) != owner["started"]
    except OSError:
        return False


def _namespace() -> str:
    """In which numbers of processes mean what they mean here; a container has its own. "" if the system does not tell."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a living process of this machine started, in the kernel's ticks: tells a reused pid. "" if dead, or without /proc."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in "ZX" else fields[18]
