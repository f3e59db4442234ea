"""Bass: the roots, in the rhythm of the kick or of the beat, with a step into each new chord."""

import numpy as np

from benchmarks.data.minislakh.dice import weigh
from benchmarks.data.minislakh.groove import Groove, Style, hits
from benchmarks.data.minislakh.song import BEAT, STEP, Chord, Note, Section

LOWEST = 28
"""MIDI pitch of the open E string; roots lie within the octave above it."""


def register(tone: int) -> int:
    """The instrument's lowest pitch of a pitch class."""
    return LOWEST + (tone - LOWEST) % 12


def approach(rng: np.random.Generator, section: Section, then: Chord) -> int:
    """The note before a new chord: the scale's neighbour of its root, sometimes a semitone outside the scale."""
    root = register(then.root)
    outside = weigh(rng, {False: 3, True: 1})
    neighbours = [root + step for step in (-1, -2, 1, 2) if outside or (root + step) % 12 in section.scale]
    return max(neighbours[0], LOWEST)


def lock(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """With the kick drum: the root on the first beat, now and then the fifth or the octave after it."""
    notes = []
    for start, chord, then in section.bars():
        root, fifth, lead = register(chord.root), register(chord.tones[2]), start + 14 * STEP
        for tick, length, velocity in hits(groove.kick):
            pitch = root if tick == 0 else weigh(rng, {root: 4, fifth: 2, root + 12: 1})
            notes.append(Note(start + tick, length, pitch, velocity).until(lead))
        notes.append(Note(lead, 2 * STEP, approach(rng, section, then), 90))
    return [note for note in notes if note.length > 0]


def drive(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """Eighths on the root, pushed into the next chord."""
    notes = []
    for start, chord, then in section.bars():
        for tick, length, velocity in hits("X.x.x.x.X.x.x.x."):
            pitch = approach(rng, section, then) if tick == 14 * STEP else register(chord.root)
            notes.append(Note(start + tick, length * 7 // 8, pitch, velocity))
    return notes


def walk(rng: np.random.Generator, groove: Groove, section: Section) -> list[Note]:
    """Quarters: root, two chord tones and an approach."""
    notes = []
    for start, chord, then in section.bars():
        third, fifth = register(chord.tones[1]), register(chord.tones[2])
        middle = weigh(rng, {(third, fifth): 2, (fifth, third): 1, (fifth, register(chord.root) + 12): 1})
        pitches = (register(chord.root), *middle, approach(rng, section, then))
        notes += [Note(start + beat * BEAT, BEAT, pitch, 96) for beat, pitch in enumerate(pitches)]
    return notes


STYLES: dict[str, Style] = {"lock": lock, "drive": drive, "walk": walk}
