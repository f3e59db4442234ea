"""What a song is: notes, the sources that play them and the sections they fall into. Time is counted in ticks."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gmsdi import STEMS

BEAT = 480
"""Ticks in a quarter note; every song is in 4/4."""

STEP = BEAT // 4
"""Ticks in a sixteenth, the grid that the parts are written on."""

BAR = 4 * BEAT
"""Ticks in a bar."""

AUDIBLE = 0.1
"""Seconds that a class must sound within a chunk to count as active in it."""


@dataclass(frozen=True, order=True)
class Note:
    """One note: ``start`` and ``length`` in ticks, MIDI ``pitch`` and ``velocity`` (a drum's pitch is its GM key)."""

    start: int
    length: int
    pitch: int
    velocity: int

    @property
    def stop(self) -> int:
        """The tick at which the note is released."""
        return self.start + self.length

    def until(self, tick: int) -> "Note":
        """The same note, released at ``tick`` at the latest."""
        return replace(self, length=min(self.length, tick - self.start))


@dataclass(frozen=True)
class Chord:
    """Pitch classes (0 is C), the root first."""

    tones: tuple[int, ...]

    @property
    def root(self) -> int:
        """The root's pitch class."""
        return self.tones[0]


@dataclass(frozen=True)
class Section:
    """A few bars with one cast.

    ``start`` in ticks, one chord a bar, the ``scale`` as pitch classes, the ``cast`` as classes in the order of ``STEMS``.
    """

    name: str
    start: int
    chords: tuple[Chord, ...]
    scale: tuple[int, ...]
    cast: tuple[str, ...]

    @property
    def stop(self) -> int:
        """The tick at which the next section starts."""
        return self.start + len(self.chords) * BAR

    def bars(self) -> list[tuple[int, Chord, Chord]]:
        """For each bar its first tick, its chord and the chord that follows (the last bar leads back to the first)."""
        following = (*self.chords[1:], self.chords[0])
        return [
            (self.start + bar * BAR, chord, then)
            for bar, (chord, then) in enumerate(zip(self.chords, following, strict=True))
        ]


@dataclass(frozen=True)
class Source:
    """One instrument of a song.

    ``stem`` is its class, ``style`` how it plays, ``program`` its General MIDI program (0-127; for drums the kit's),
    ``level`` its loudness against the song's other sources in dB.
    """

    stem: str
    style: str
    program: int
    level: float
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Song:
    """A whole song and the numbers that it was composed from; ``tempo`` in beats a minute."""

    seed: int
    split: str
    index: int
    tempo: int
    key: str
    groove: str
    sections: tuple[Section, ...]
    sources: tuple[Source, ...]

    @property
    def stop(self) -> int:
        """The tick after the last bar."""
        return self.sections[-1].stop

    def seconds(self, tick: int) -> float:
        """When ``tick`` is, in seconds."""
        return tick * 60 / (BEAT * self.tempo)

    def activity(self, chunk: float = 3.0) -> npt.NDArray[np.bool_]:
        """Which classes sound in each whole chunk of ``chunk`` seconds: ``[chunks, stems]``, ordered as ``STEMS``."""
        chunks = int(self.seconds(self.stop) / chunk)
        sounding = np.zeros((chunks, len(STEMS)))
        for source in self.sources:
            stem = STEMS.index(source.stem)
            for note in source.notes:
                start, stop = self.seconds(note.start), self.seconds(note.stop)
                for i in range(int(start / chunk), min(int(stop / chunk) + 1, chunks)):
                    sounding[i, stem] += min(stop, (i + 1) * chunk) - max(start, i * chunk)
        return sounding >= AUDIBLE
