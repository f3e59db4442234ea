"""The composer: a song from a seed. Every song is independent of all the others."""

from dataclasses import replace

import numpy as np

from benchmarks.data.minislakh import bass, drums, guitar, piano
from benchmarks.data.minislakh.dice import around, between, dice, pick, weigh
from benchmarks.data.minislakh.form import write_form
from benchmarks.data.minislakh.groove import GROOVES, Groove, swung
from benchmarks.data.minislakh.song import Note, Section, Song, Source
from benchmarks.data.minislakh.theory import MODES, Key
from gmsdi import STEMS

COMPOSER_VERSION = 1
"""Raised whenever a seed would give other notes or other audio."""

STYLES = {
    "bass": bass.STYLES,
    "drums": drums.STYLES,
    "guitar": guitar.CHORDS | guitar.LINES,
    "piano": piano.CHORDS | piano.LINES,
}

PAIRS = {
    "guitar": (guitar.CHORDS, guitar.LINES),
    "piano": (piano.CHORDS, piano.LINES),
}
"""The classes that may have two sources: one plays the chords, one a line above them."""

PROGRAMS = {
    "bass": (32, 33, 34, 35, 36, 37, 38, 39),
    "drums": (0, 8, 16, 24, 25, 32, 40),
    "guitar": (24, 25, 26, 27, 28, 29, 30),
    "piano": (0, 1, 2, 3, 4, 5, 6, 7),
}
"""General MIDI programs; for drums the kits: standard, room, power, electronic, TR-808, jazz and brush."""

TIMING, TOUCH = 12, 10
"""How far a human strays: ticks off the grid, steps of velocity."""

BALANCE = 3
"""How far a source's loudness strays from the others', in dB."""


def compose(seed: int, split: str, index: int) -> Song:
    """Song ``index`` (from 0) of a split: the same notes on every machine, whichever other songs exist."""
    rng = dice(seed, split, index, COMPOSER_VERSION)
    key = Key(between(rng, 0, 11), pick(rng, list(MODES)))
    name = pick(rng, list(GROOVES))
    tempo = between(rng, *GROOVES[name].tempi)
    sections = write_form(rng, key, tempo)
    sources = [source for stem in STEMS for source in play(rng, stem, GROOVES[name], sections)]
    return Song(seed, split, index, tempo, str(key), name, sections, tuple(sources))


def play(rng: np.random.Generator, stem: str, groove: Groove, sections: tuple[Section, ...]) -> list[Source]:
    """The sources of one class, with the notes of all the sections that the class plays in."""
    if stem in PAIRS and weigh(rng, {True: 2, False: 3}):
        styles = [pick(rng, list(role)) for role in PAIRS[stem]]
    else:
        styles = [pick(rng, list(STYLES[stem]))]
    parts: list[list[Note]] = [[] for _ in styles]
    for section in sections:
        if stem in section.cast:
            for chair in seated(rng, len(styles)):
                written = STYLES[stem][styles[chair]](rng, groove, section)
                parts[chair] += perform(rng, written, groove, section)
    return [
        Source(
            stem=stem,
            style=style,
            program=pick(rng, PROGRAMS[stem]),
            level=around(rng, 2 * BALANCE) / 2,
            notes=tuple(sorted(part)),
        )
        for style, part in zip(styles, parts, strict=True)
        if part
    ]


def seated(rng: np.random.Generator, chairs: int) -> list[int]:
    """Which of a class's sources play in a section: half the time all of them, else one."""
    return list(range(chairs)) if weigh(rng, {True: 1, False: 1}) else [between(rng, 0, chairs - 1)]


def perform(rng: np.random.Generator, written: list[Note], groove: Groove, section: Section) -> list[Note]:
    """The written notes as played: swung, a little off the grid and uneven, released by the end of the section."""
    loudness = around(rng, 16)
    released: dict[int, int] = {}  # by pitch: a string that is struck again stops the note it held
    played = []
    for note in sorted(written, reverse=True):
        start = max(section.start, swung(note.start, groove.swing) + around(rng, TIMING))
        stop = min(swung(note.stop, groove.swing), section.stop, released.get(note.pitch, section.stop))
        if start < stop:
            released[note.pitch] = start
            velocity = min(max(note.velocity + loudness + around(rng, TOUCH), 1), 127)
            played.append(replace(note, start=start, length=stop - start, velocity=velocity))
    return played
