"""MiniSlakh: songs composed and rendered from a seed, in Slakh2100's raw layout; its offline stand-in.

``compose`` writes a song, ``render_split`` the audio of a split. The four classes of a song share harmony and rhythm,
and which of them play varies by section: of all chunks of three seconds about a quarter are solos, a quarter duos.
"""

from benchmarks.data.minislakh.compose import COMPOSER_VERSION, compose
from benchmarks.data.minislakh.song import Chord, Note, Section, Song, Source
from benchmarks.data.minislakh.splits import DEFAULT_SONGS, FIRST_TRACK, render_split, track_folder

__all__ = [
    "COMPOSER_VERSION",
    "DEFAULT_SONGS",
    "FIRST_TRACK",
    "Chord",
    "Note",
    "Section",
    "Song",
    "Source",
    "compose",
    "render_split",
    "track_folder",
]
