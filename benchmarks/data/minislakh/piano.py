"""Piano: comping, held and broken chords, and melody."""

import numpy as np

from benchmarks.data.minislakh.dice import around
from benchmarks.data.minislakh.groove import Groove, Style, hits
from benchmarks.data.minislakh.melody import line
from benchmarks.data.minislakh.song import BAR, STEP, Note, Section
from benchmarks.data.minislakh.theory import voicings

LOWEST, HIGHEST = 36, 96
"""MIDI pitches of the octaves in use."""


def left_hand(tone: int) -> int:
    """The pitch of a root for the left hand."""
    return LOWEST + tone % 12


def hands(section: Section) -> list[tuple[int, ...]]:
    """The right hand's chords, around middle C and above."""
    return voicings(section.chords, 57, 69)


def comp(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """Short chords in the groove's rhythm over a root that the left hand holds."""
    notes = []
    for (start, chord, _), hand in zip(section.bars(), hands(section), strict=True):
        notes.append(Note(start, BAR, left_hand(chord.root), 84))
        for tick, length, velocity in hits(groove.comp):
            notes += [Note(start + tick, min(length, 3 * STEP), pitch, velocity - 6) for pitch in hand]
    return notes


def hold(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """Chords that last for the bar, rolled a little, over the root in octaves."""
    notes = []
    for (start, chord, _), hand in zip(section.bars(), hands(section), strict=True):
        root = left_hand(chord.root)
        roll = 6 + around(rng, 6)
        notes += [
            Note(start + roll * order, BAR - roll * order, pitch, 86)
            for order, pitch in enumerate(sorted({root, root + 12, *hand}))
        ]
    return notes


def broken(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """Eighths in the manner of Alberti: bottom, top, middle, top."""
    notes = []
    for (start, _, _), hand in zip(section.bars(), hands(section), strict=True):
        for eighth, pitch in enumerate((hand[0], hand[-1], hand[1], hand[-1]) * 2):
            notes.append(Note(start + eighth * 2 * STEP, 2 * STEP, pitch, 96 if eighth % 4 == 0 else 82))
    return notes


def melody(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """A tune above the chords."""
    return line(rng, section, 60, 90)


CHORDS: dict[str, Style] = {"comp": comp, "hold": hold, "broken": broken}
LINES: dict[str, Style] = {"melody": melody}
