"""Keys, chords, progressions and voice leading."""

from dataclasses import dataclass

from benchmarks.data.minislakh.song import Chord

NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")

MODES = {
    "ionian": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": (0, 2, 3, 5, 7, 8, 10),
}

PROGRESSIONS = {
    "ionian": ((1, 5, 6, 4), (1, 6, 4, 5), (1, 4, 6, 5), (6, 4, 1, 5), (2, 5, 1, 6), (1, 3, 4, 5), (4, 1, 5, 6)),
    "dorian": ((1, 4, 1, 4), (1, 7, 4, 1), (1, 3, 7, 4), (1, 2, 3, 4), (1, 5, 4, 7)),
    "mixolydian": ((1, 7, 4, 1), (1, 4, 7, 4), (1, 5, 7, 4), (1, 2, 4, 1), (4, 7, 1, 1)),
    "aeolian": ((1, 6, 3, 7), (1, 4, 6, 5), (1, 7, 6, 7), (6, 7, 1, 1), (1, 3, 7, 6), (4, 6, 1, 5)),
}
"""Four bars each, in degrees of the mode; none touches the degree with a diminished triad."""


@dataclass(frozen=True)
class Key:
    """A tonic (pitch class) and a mode."""

    tonic: int
    mode: str

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {self.mode}"

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes, from the tonic."""
        return tuple((self.tonic + interval) % 12 for interval in MODES[self.mode])

    def chord(self, degree: int, voices: int) -> Chord:
        """The chord on a degree (1 is the tonic): stacked thirds, a triad of 3 ``voices`` or a seventh of 4."""
        return Chord(tuple(self.scale[(degree - 1 + 2 * third) % 7] for third in range(voices)))


def pitches(classes: tuple[int, ...], low: int, high: int) -> list[int]:
    """Every MIDI pitch from ``low`` to ``high`` (both included) whose class is one of ``classes``."""
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in classes]


def nearest(pitch: int, classes: tuple[int, ...]) -> int:
    """The pitch of one of ``classes`` that is nearest to ``pitch``; the lower of two."""
    return min(pitches(classes, pitch - 6, pitch + 6), key=lambda other: abs(other - pitch))


def voicings(chords: tuple[Chord, ...], low: int, high: int) -> list[tuple[int, ...]]:
    """A close position for each chord, its lowest note from ``low`` to ``high``.

    Each is the inversion that moves least from the one before, so common tones stay where they are.
    """
    voiced: list[tuple[int, ...]] = [((low + high) // 2 + 3,)]
    for chord in chords:
        inversions = [
            tuple(sorted(bottom + (tone - bottom) % 12 for tone in chord.tones))
            for bottom in pitches(chord.tones, low, high)
        ]
        voiced.append(min(inversions, key=lambda inversion: _movement(voiced[-1], inversion)))
    return voiced[1:]


def _movement(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Semitones that the voices travel, each from the nearest note before."""
    return sum(min(abs(pitch - other) for other in before) for pitch in after)
