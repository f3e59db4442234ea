"""Drums: the groove, with a crash to open a section and fills to close it."""

import numpy as np

from benchmarks.data.minislakh.dice import pick, weigh
from benchmarks.data.minislakh.groove import Groove, Style, hits
from benchmarks.data.minislakh.song import BEAT, STEP, Note, Section

KICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH, RIDE = 36, 38, 42, 46, 49, 51
HIGH_TOM, MIDDLE_TOM, LOW_TOM = 48, 45, 43

FILLS = (
    ((SNARE, "xoxx...."), (HIGH_TOM, "....xx.."), (LOW_TOM, "......xX")),
    ((SNARE, "x.xx...."), (MIDDLE_TOM, "....x.x."), (LOW_TOM, ".......X")),
    ((HIGH_TOM, "xx......"), (MIDDLE_TOM, "..xx...."), (LOW_TOM, "....xx.."), (SNARE, "......XX")),
    ((SNARE, "X..X..X."), (KICK, ".x..x..x")),
)
"""The last half of a bar, in sixteenths."""


def strike(start: int, key: int, pattern: str) -> list[Note]:
    """One drum played through a pattern from the tick ``start``."""
    return [Note(start + tick, STEP, key, velocity) for tick, _, velocity in hits(pattern)]


def beat(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """The groove bar by bar, with a fill at the end of the section; drums alone fill every other bar."""
    cymbal = weigh(rng, {CLOSED_HAT: 3, RIDE: 2})
    notes = []
    for bar, (start, _, _) in enumerate(section.bars(), start=1):
        played = [
            *strike(start, KICK, groove.kick),
            *strike(start, SNARE, groove.snare),
            *strike(start, cymbal, groove.hat),
        ]
        if bar % (2 if len(section.cast) == 1 else len(section.chords)) == 0:
            half = start + 2 * BEAT
            played = [note for note in played if note.start < half]
            played += [note for key, pattern in pick(rng, FILLS) for note in strike(half, key, pattern)]
        elif cymbal == CLOSED_HAT and weigh(rng, {True: 1, False: 2}):
            played = [note for note in played if note.pitch != cymbal or note.start < start + 14 * STEP]
            played += strike(start + 14 * STEP, OPEN_HAT, "x.")
        notes += played
    return [Note(section.start, STEP, CRASH, 100), *notes]


STYLES: dict[str, Style] = {"beat": beat}
