"""Guitar: strummed chords, broken chords and riffs."""

import numpy as np

from benchmarks.data.minislakh.dice import pick
from benchmarks.data.minislakh.groove import Groove, Style, hits
from benchmarks.data.minislakh.melody import line
from benchmarks.data.minislakh.song import BAR, BEAT, STEP, Note, Section
from benchmarks.data.minislakh.theory import voicings

LOWEST, HIGHEST = 40, 84
"""MIDI pitches: the open E string, the twentieth fret of the first."""

STROKE = 9
"""Ticks that the hand needs from one string to the next."""


def fingered(section: Section) -> list[tuple[int, ...]]:
    """The section's chords as a guitarist grips them: the close position, plus its lowest note an octave up."""
    return [(*voicing, voicing[0] + 12) for voicing in voicings(section.chords, 47, 60)]


def strum(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """The groove's chord rhythm: down-strokes over all strings on eighths, up-strokes over the top three between."""
    notes = []
    for (start, _, _), grip in zip(section.bars(), fingered(section), strict=True):
        for tick, length, velocity in hits(groove.comp):
            strings = grip if tick % (2 * STEP) == 0 else grip[:-4:-1]
            notes += [
                Note(start + tick + STROKE * order, length - STROKE * order, pitch, velocity - 3 * order)
                for order, pitch in enumerate(strings)
            ]
    return notes


def arpeggio(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """Eighths over the strings of the grip, left to ring for half a bar."""
    strings = pick(rng, ((0, 1, 2, 3, 2, 1, 2, 1), (0, 2, 1, 2, 3, 2, 1, 2), (0, 1, 2, 1, 3, 1, 2, 1)))
    notes = []
    for (start, _, _), grip in zip(section.bars(), fingered(section), strict=True):
        for eighth, string in enumerate(strings):
            tick = eighth * 2 * STEP
            notes.append(Note(start + tick, min(2 * BEAT, BAR - tick), grip[string], 100 if tick % BAR == 0 else 86))
    return notes


def riff(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """A motif on the lower strings."""
    return line(rng, section, LOWEST + 2, 67)


CHORDS: dict[str, Style] = {"strum": strum, "arpeggio": arpeggio}
LINES: dict[str, Style] = {"riff": riff}
