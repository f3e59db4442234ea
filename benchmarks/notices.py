"""What a person is told while work goes on: warnings, one line each, and progress (a bar on a terminal, plain lines in a log)."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_EVERY = 10.0
"""Seconds between two lines of progress in a log."""

_console = Console(stderr=True)
_shown = True


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


class Advance(Protocol):
    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """Show how much of ``total`` is done: yields a function to call with the number of finished steps."""
    if total == 0 or not _shown:
        yield lambda steps=1: None
    elif _console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=_console) as bar:
            task = bar.add_task(label, total=total)
            yield lambda steps=1: bar.advance(task, steps)
    else:
        yield from _log_progress(label, total)


def _log_progress(label: str, total: int) -> Iterator[Advance]:
    began = spoke = time.monotonic()
    done = 0

    def advance(steps: int = 1) -> None:
        nonlocal done, spoke
        done += steps
        now = time.monotonic()
        if done >= total or now - spoke >= LOG_EVERY:
            spoke = now
            say(f"{label}: {done}/{total} in {now - began:.1f} s")

    yield advance
