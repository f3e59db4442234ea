"""Single-note lines: a motif of two bars that is carried through the chords."""

import numpy as np

from benchmarks.data.minislakh.dice import around, pick
from benchmarks.data.minislakh.groove import hits
from benchmarks.data.minislakh.song import BEAT, Note, Section
from benchmarks.data.minislakh.theory import nearest, pitches

RHYTHMS = (
    "X...x.x...x.x...",
    "X.x.x...x.x.x...",
    "X.....x.x...x...",
    "X..x..x.x...x.x.",
    "X.x.x.x.X...x...",
    "..x.x.x.X.......",
    "X...x...x.x.x.x.",
)


def line(rng: np.random.Generator, section: Section, low: int, high: int) -> list[Note]:
    """A melody from ``low`` to ``high`` (MIDI): chord tones on the beat, steps of the scale between them."""
    scale = pitches(section.scale, low + 6, high - 6)
    motif = [[(*hit, around(rng, 4)) for hit in hits(pick(rng, RHYTHMS))] for _ in range(2)]
    notes = []
    for bar, (start, chord, _) in enumerate(section.bars()):
        if bar % 2 == 0:
            at = len(scale) // 2  # the motif begins again where it began
        for tick, length, velocity, leap in motif[bar % 2]:
            at = min(max(at + leap, 0), len(scale) - 1)
            pitch = nearest(scale[at], chord.tones) if tick % BEAT == 0 else scale[at]
            notes.append(Note(start + tick, min(length, 2 * BEAT), pitch, velocity))
    return notes
