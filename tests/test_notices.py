"""Progress: of a part by itself, and beside the whole that it is a part of, in a log and on a terminal."""

import io
import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmarks import notices
from benchmarks.notices import LOG_EVERY, beside, progress

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """``clock.now`` in seconds, which stands still."""
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(notices, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to a terminal. No thread that draws on it may stay."""
    file = io.StringIO()
    monkeypatch.setattr(notices, "_console", Console(file=file, force_terminal=True, width=120))
    before = set(threading.enumerate())
    yield file
    for thread in set(threading.enumerate()) - before:
        thread.join(10)  # it is told to end, and does so the next time that it would draw
        assert not thread.is_alive()


def test_a_log_has_a_line_of_a_part_now_and_then_and_one_of_its_end(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("work", 4) as advance:
        advance()
        clock.now += LOG_EVERY
        advance()
        advance()
        clock.now += 1
        advance()
    assert capsys.readouterr().err == "work: 2/4 in 10.0 s\nwork: 4/4 in 11.0 s\n"


def test_a_log_speaks_of_the_whole_at_times(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    asked = iter(["some", "more"])
    with beside(lambda: (0.5, next(asked))):
        for length in (1, LOG_EVERY, LOG_EVERY / 2, LOG_EVERY):
            with progress("part", 1) as advance:
                clock.now += length
                advance()
    with progress("other", 1) as advance:
        clock.now += LOG_EVERY
        advance()
    assert capsys.readouterr().err.splitlines() == [
        "part: 1/1 in 1.0 s",
        "part: 1/1 in 10.0 s (some)",
        "part: 1/1 in 5.0 s",
        "part: 1/1 in 10.0 s (more)",
        "other: 1/1 in 10.0 s",
    ]


def test_a_terminal_has_a_bar_of_the_whole_and_one_of_the_part_and_lines_of_parts_that_are_finished(
    terminal: io.StringIO,
) -> None:
    with beside(lambda: (0.42, "42 % of all")):
        for part in ("first", "second"):
            with progress(part, 2) as advance:
                advance()
                assert notices._display is not None
                shown = [task.description for task in notices._display.bars.tasks]  # type: ignore[union-attr]
                assert shown == ["in all", part]
                advance()
    written = terminal.getvalue()
    assert "42 % of all" in written
    assert re.findall(r"(first|second): 2/2 in", written) == ["first", "second"]
    assert notices._display is None


@pytest.mark.parametrize("whole", [False, True])
def test_ctrl_c_leaves_a_terminal_as_it_was(terminal: io.StringIO, whole: bool) -> None:
    def work() -> None:
        with progress("part", 2) as advance:
            advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        if whole:
            with beside(lambda: (0.5, "half")):
                work()
        else:
            work()
    written = terminal.getvalue()
    assert written.rfind(SHOW_CURSOR) > written.rfind(HIDE_CURSOR) >= 0
    assert notices._display is None
    with progress("again", 1) as advance:
        advance()


def test_a_process_that_hides_its_progress_shows_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notices, "_shown", True)
    notices.hide_progress()
    with progress("part", 1) as advance:
        advance()
    assert capsys.readouterr().err == ""
