"""Exclusive leases on a shared file system, by files that only one process can create (no flock: safe on NFS).

A lease on ``key`` is the file ``ey/key.GENERATION``; folders are named by the last two letters of keys, so that none becomes large. A
lease is stale when its process is known to be dead (on this machine) or its heartbeat has stopped. A process that finds the highest
generation stale takes over by creating the next one, which only one process can do, so each death hands a lease on at most once.
Between the look and the take-over the lease may have been given back and taken again. So a process that has created its file looks
once more, and withdraws if it finds another file that is not stale.
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
        except OSError:  # a full disk: others would wait for a lease without an owner
            path.unlink(missing_ok=True)
            raise
        if any(other != path and not _is_stale(other) for other in self._generations(key)):
            path.unlink(missing_ok=True)
            return False
        with self._lock:
            self._held[key] = path
        return True

    def holds(self, key: str) -> bool:
        """Whether a lease that was acquired is still ours; if this process slept for too long, another has taken over."""
        return self._is_ours(self._held[key]) and self._generations(key)[-1:] == [self._held[key]]

    def release(self, keys: Iterable[str]) -> None:
        """Give leases back. What was done under them must be recorded on disk by now."""
        for key in keys:
            with self._lock:
                held = self._held.pop(key)
            if not self._is_ours(held):
                continue  # taken over while this process slept: the file that is there now, if any, is not ours
            for path in self._generations(key):
                if _generation(path) <= _generation(held):
                    path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Keep the lease files but stop caring for them. Other processes take over once this one has ended, and count it as a death."""
        with self._lock:
            self._held.clear()

    def deaths(self, keys: Iterable[str]) -> dict[str, int]:
        """How many holders of a key have died in a row since the lease was last given back; only of keys whose last holder died."""
        found = {key: self._generations(key) for key in keys}
        return {
            key: _generation(paths[-1]) + int(_is_stale(paths[-1]))
            for key, paths in found.items()
            if paths and (_generation(paths[-1]) or _is_stale(paths[-1]))
        }

    def share(
        self, items: Iterable[T], key: Callable[[T], str], pending: Callable[[list[T]], list[T]], size: int
    ) -> Iterator[list[T]]:
        """Batches of items that no other process holds, until every item is done by some process.

        ``pending`` reads the store anew and says which of some items are still to do. A batch is released when the next one is
        asked for. Items that others hold, or took over from this process, are looked at again until they are done; they are in a
        later batch if their holder dies.
        """
        waiting = deque(items)
        while waiting:
            batch: list[T] = []
            held: list[T] = []
            while waiting and len(batch) < size:
                item = waiting.popleft()
                (batch if self.acquire(key(item)) else held).append(item)
            todo = pending(batch)  # another process may have finished some before we got the lease
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
                with suppress(OSError):  # released meanwhile; or the disk is out of order, which the work will notice
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
        return silent > HEARTBEAT  # its process was killed between creating the file and writing its owner
    return silent > STALE or (status.st_uid == os.getuid() and _is_dead(owner))


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether a process of our own user is known to be dead. False if it runs elsewhere or /proc does not tell."""
    try:
        here = owner["host"] == socket.gethostname() and owner.get("namespace", "") == _namespace() != ""
        return here and _started(owner["pid"]) != owner["started"]
    except OSError:
        return False


def _namespace() -> str:
    """The namespace of process ids; a container has its own, where the same id is another process. "" if the system does not tell."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a living process of this machine started, in the kernel's ticks; tells a reused pid. "" if it is dead, or without /proc."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in "ZX" else fields[18]
