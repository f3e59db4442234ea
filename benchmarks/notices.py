"""What a person is told while work goes on: warnings, one line each, and progress (bars on a terminal, plain lines in a log)."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_EVERY = 10.0
"""Seconds between two lines of progress in a log."""

_console = Console(stderr=True)
_shown = True
_display: "_Lines | _Bars | None" = None
"""What shows progress beside a whole, while there is one."""


def hide_progress() -> None:
    """Show none in this process: another shows that of the whole."""
    global _shown
    _shown = False


@cache
def warn(message: str) -> None:
    """Print one warning line to standard error; the same warning once."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def say(message: str) -> None:
    """Print one line of news to standard error, where progress goes; standard output is for results."""
    print(message, file=sys.stderr, flush=True)


def count(number: int, thing: str) -> str:
    """``1 system``, ``2 systems``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def about(seconds: float) -> str:
    """A duration as precisely as an estimate deserves: ``a few seconds``, ``about 40 s``, ``about 4 min``, ``about 2.5 h``."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"about {seconds / 86400:.0f} days"


class Advance(Protocol):
    def __call__(self, steps: int = 1) -> None: ...


Whole = Callable[[], tuple[float, str]]
"""How much is done of something that has many parts, from 0 to 1, and the same in words, with what is left."""


@contextmanager
def beside(whole: Whole) -> Iterator[None]:
    """Show with every ``progress`` in this context how far the ``whole`` is, which is asked whenever one of them advances."""
    global _display
    with _open(whole) as display:
        outer, _display = _display, display
        try:
            yield
        finally:
            _display = outer


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """Show how much of ``total`` is done: yields a function to call with the number of finished steps."""
    if total == 0 or not _shown:
        yield lambda steps=1: None
        return
    with nullcontext(_display) if _display else _open() as display, display.part(label, total) as show:
        done = 0

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            show(done)

        yield advance


Show = Callable[[int], None]
"""Shows that so much of a part is done."""


class _Lines:
    """Progress in a log: lines of each part, with a word on the whole not more often than every ``LOG_EVERY`` seconds."""

    def __init__(self, whole: Whole | None) -> None:
        self.whole = whole
        self._spoke = time.monotonic()

    @contextmanager
    def part(self, label: str, total: int) -> Iterator[Show]:
        began = spoke = time.monotonic()

        def show(done: int) -> None:
            nonlocal spoke
            now = time.monotonic()
            if done >= total or now - spoke >= LOG_EVERY:
                spoke = now
                say(f"{_took(label, done, total, now - began)}{self._of_whole(now)}")

        yield show

    def _of_whole(self, now: float) -> str:
        if self.whole is None or now - self._spoke < LOG_EVERY:
            return ""
        self._spoke = now
        return f" ({self.whole()[1]})"


class _Bars:
    """Progress on a terminal: a bar of the part. Under a bar of the whole it gives way to a line when the part is finished."""

    def __init__(self, bars: Progress, whole: Whole | None) -> None:
        self.bars = bars
        self.whole = whole
        self._task = bars.add_task("in all", total=1.0, said="") if whole else None
        self._update()

    @contextmanager
    def part(self, label: str, total: int) -> Iterator[Show]:
        began = time.monotonic()
        task = self.bars.add_task(label, total=total, said=f"0/{total}")

        def show(done: int) -> None:
            self.bars.update(task, completed=done, said=f"{done}/{total}")
            self._update()
            if done >= total and self.whole:
                say(_took(label, done, total, time.monotonic() - began))

        try:
            yield show
        finally:
            if self.whole:
                self.bars.remove_task(task)

    def _update(self) -> None:
        if self.whole and self._task is not None:
            fraction, said = self.whole()
            self.bars.update(self._task, completed=fraction, said=said)


@contextmanager
def _open(whole: Whole | None = None) -> Iterator[_Lines | _Bars]:
    """What shows parts of a ``whole``, or one by itself."""
    if not _console.is_terminal:
        yield _Lines(whole)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        *(() if whole else (TimeRemainingColumn(),)),
    )
    with Progress(*columns, console=_console, transient=whole is not None) as bars:
        yield _Bars(bars, whole)


def _took(label: str, done: int, total: int, seconds: float) -> str:
    return f"{label}: {done}/{total} in {seconds:.1f} s"
