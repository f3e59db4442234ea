"""Song forms: which sections follow one another, and who plays in each."""

import numpy as np

from benchmarks.data.minislakh.dice import pick, weigh
from benchmarks.data.minislakh.song import BAR, BEAT, Section
from benchmarks.data.minislakh.theory import PROGRESSIONS, Key
from gmsdi import STEMS

PLAYERS = {"intro": 1, "build": 2, "verse": 3, "chorus": 4, "breakdown": 2, "solo": 1, "outro": 1}
"""How many of the four classes play in a section."""

FORMS = (
    "intro solo verse chorus",
    "solo verse chorus breakdown",
    "intro build chorus outro",
    "intro build verse chorus solo",
    "breakdown solo verse chorus build",
    "intro solo build chorus verse",
    "intro build verse chorus solo outro",
    "verse chorus solo breakdown verse chorus",
    "intro build chorus breakdown solo verse",
    "intro build verse chorus solo breakdown chorus",
    "build verse chorus solo outro build chorus",
    "intro solo verse chorus verse breakdown solo",
    "intro build verse chorus solo solo breakdown chorus",
    "intro solo breakdown chorus verse chorus breakdown outro",
)

SECTION_BARS = 4
SHORTEST, LONGEST = 33, 58
"""Seconds of written music; the last notes ring two seconds longer."""


def write_form(rng: np.random.Generator, key: Key, tempo: int) -> tuple[Section, ...]:
    """The sections of a song in ``key`` at ``tempo`` beats a minute: a form that fits, chords and casts."""
    seconds = SECTION_BARS * BAR * 60 / (BEAT * tempo)
    names = pick(rng, [form.split() for form in FORMS if SHORTEST <= len(form.split()) * seconds <= LONGEST])
    voices = weigh(rng, {3: 3, 4: 2})
    verse, chorus = (pick(rng, PROGRESSIONS[key.mode]) for _ in range(2))
    casts = write_casts(rng, names)
    return tuple(
        Section(
            name=name,
            start=position * SECTION_BARS * BAR,
            chords=tuple(key.chord(degree, voices) for degree in (chorus if name == "chorus" else verse)),
            scale=key.scale,
            cast=cast,
        )
        for position, (name, cast) in enumerate(zip(names, casts, strict=True))
    )


def write_casts(rng: np.random.Generator, names: list[str]) -> list[tuple[str, ...]]:
    """Who plays in each section, in the order of ``STEMS``.

    From section to section players join or leave, as in a band; in two solos in a row the second player replaces the first.
    Whoever has rested longest joins and whoever has played longest leaves, so that all classes play and solo about equally.
    """
    resting = [STEMS[stem] for stem in rng.permutation(len(STEMS))]
    playing: list[str] = []
    casts = []
    for name in names:
        if len(playing) == PLAYERS[name] == 1:
            resting.append(playing.pop(0))
        while len(playing) < PLAYERS[name]:
            playing.append(resting.pop(0))
        while len(playing) > PLAYERS[name]:
            resting.append(playing.pop(0))
        casts.append(tuple(stem for stem in STEMS if stem in playing))
    return casts
