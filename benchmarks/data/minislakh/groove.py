"""Grooves: the rhythm that a song's players share, written as the sixteenths of a bar.

``X`` is an accent, ``x`` a hit, ``o`` a ghost note and ``.`` a rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.data.minislakh.song import BEAT, STEP, Note, Section

LOUDNESS = {"X": 110, "x": 94, "o": 62}
"""MIDI velocities."""


@dataclass(frozen=True)
class Groove:
    """What a bar sounds like: drums, the rhythm of the chords (``comp``), ticks of ``swing`` and the range of tempi."""

    kick: str
    snare: str
    hat: str
    comp: str
    swing: int
    tempi: tuple[int, int]


Style = Callable[[np.random.Generator, Groove, Section], list[Note]]
"""How a player turns a section into notes on the grid; each instrument's module has a table of styles."""

GROOVES = {
    "rock": Groove(
        kick="X.......X.x.....",
        snare="....X.......X...",
        hat="X.x.X.x.X.x.X.x.",
        comp="X...x.x...x.x.x.",
        swing=0,
        tempi=(104, 140),
    ),
    "pop": Groove(
        kick="X.....x.X.......",
        snare="....X.......X..o",
        hat="x.x.x.x.x.x.x.x.",
        comp="X.....x.....x...",
        swing=0,
        tempi=(92, 124),
    ),
    "funk": Groove(
        kick="X..x......x..x..",
        snare="....X..o.o..X..o",
        hat="xoxoxoxoxoxoxoxo",
        comp="X..x..x...x..x..",
        swing=0,
        tempi=(88, 112),
    ),
    "disco": Groove(
        kick="X...X...X...X...",
        snare="....X.......X...",
        hat="o.X.o.X.o.X.o.X.",
        comp="..x...x...x...x.",
        swing=0,
        tempi=(112, 132),
    ),
    "half-time": Groove(
        kick="X.......x.....x.",
        snare="........X.......",
        hat="x...x...x...x.x.",
        comp="X.......x.......",
        swing=0,
        tempi=(120, 144),
    ),
    "shuffle": Groove(
        kick="X.....x.X.......",
        snare="....X.......X...",
        hat="X.x.X.x.X.x.X.x.",
        comp="x...X.x.x...X.x.",
        swing=80,
        tempi=(96, 132),
    ),
    "swing": Groove(
        kick="x.......o.......",
        snare="......o.......o.",
        hat="x...X.x.x...X.x.",
        comp="X.....x.......x.",
        swing=80,
        tempi=(108, 144),
    ),
    "bossa": Groove(
        kick="X.....xxX.....xx",
        snare="x.....x...x.....",
        hat="x.x.x.x.x.x.x.x.",
        comp="x..x..x...x..x..",
        swing=0,
        tempi=(96, 128),
    ),
}


def hits(pattern: str) -> Iterator[tuple[int, int, int]]:
    """The hits of a pattern: ticks into the bar, ticks until the next hit or the bar's end, and velocity."""
    steps = [step for step, mark in enumerate(pattern) if mark in LOUDNESS]
    for step, then in zip(steps, [*steps[1:], len(pattern)], strict=True):
        yield step * STEP, (then - step) * STEP, LOUDNESS[pattern[step]]


def swung(tick: int, swing: int) -> int:
    """``tick`` after swing: the second eighth of a beat is ``swing`` ticks late, and all between in proportion."""
    half, within = BEAT // 2, tick % BEAT
    if within <= half:
        return tick - within + within * (half + swing) // half
    return tick - within + half + swing + (within - half) * (half - swing) // half
