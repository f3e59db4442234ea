"""Songs as MIDI files."""

from collections.abc import Iterable
from pathlib import Path

import pretty_midi

from benchmarks.data.minislakh.song import BEAT, Song, Source


def write_midi(path: Path, song: Song, sources: Iterable[Source]) -> None:
    """Write some of the sources of a song to one MIDI file, an instrument each."""
    midi = pretty_midi.PrettyMIDI(resolution=BEAT, initial_tempo=song.tempo)
    for source in sources:
        instrument = pretty_midi.Instrument(source.program, is_drum=source.stem == "drums", name=source.style)
        instrument.notes = [
            pretty_midi.Note(note.velocity, note.pitch, song.seconds(note.start), song.seconds(note.stop))
            for note in source.notes
        ]
        midi.instruments.append(instrument)
    midi.write(str(path))
