"""What a dataset split holds, by content: tracks, the sha256 of each stem's samples, and when each stem plays.

A manifest is a jsonl file: a header line, then one line a track. Labs whose digests agree measured the same songs, to the sample.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.identity import canonical, digest
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError

SILENT_DB = -120
"""dBFS that stands for digital silence in a level curve."""

QUIET_DB = -60
"""dBFS up to which a second of a stem is a rest."""


@dataclass(frozen=True)
class Stem:
    """One stem of a track.

    ``sha256`` is of its float32 samples ``[1, samples]``; ``levels`` is the RMS of each second in whole dBFS; ``tags`` (for prompts)
    name its instruments where the source of the data does.
    """

    sha256: str
    levels: tuple[int, ...]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Track:
    """A song: its length in samples and its stems. A stem that is absent from ``stems`` is silence.

    ``missing`` are sources that the metadata lists but that have no file. They are taken as silence, and counted wherever the
    dataset is described.
    """

    name: str
    frames: int
    stems: dict[str, Stem]
    missing: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, ...]:
        """The sha256 of each stem's samples, in the order of ``STEMS``; an absent stem is ``"silence"``."""
        return tuple(self.stems[stem].sha256 if stem in self.stems else "silence" for stem in STEMS)

    def plays(self, stem: str, start: int, length: int) -> bool:
        """Whether a stem is above ``QUIET_DB`` in any second that a stretch of ``length`` samples from ``start`` touches.

        This reads ``levels``, not audio. ``start`` and ``length`` are at 22 050 Hz.
        """
        seconds = slice(start // SAMPLE_RATE, -(-(start + length) // SAMPLE_RATE))
        return stem in self.stems and max(self.stems[stem].levels[seconds], default=SILENT_DB) > QUIET_DB


@dataclass(frozen=True)
class DatasetManifest:
    """The tracks of one split, in name order.

    ``origin`` is what the data say of themselves, if they do: what is rendered here says so. ``source`` is the fingerprint of the files
    that the split was made from.
    """

    title: str
    split: str
    rate: int
    tracks: tuple[Track, ...]
    origin: str = ""
    source: str = ""

    @property
    def digest(self) -> str:
        """sha256 over what is measured: rate, names, lengths and samples; independent of folders and of tags."""
        return digest([self.rate, [[track.name, track.frames, *track.identity] for track in self.tracks]])

    @cached_property
    def copies(self) -> frozenset[str]:
        """The names of tracks whose stems are all those of an earlier one."""
        first: dict[tuple[str, ...], str] = {}
        return frozenset(
            track.name for track in self.tracks if first.setdefault(track.identity, track.name) != track.name
        )

    @property
    def header(self) -> dict[str, str | int]:
        """The first line: which split the other lines describe."""
        return {
            "title": self.title,
            "split": self.split,
            "rate": self.rate,
            "digest": self.digest,
            "origin": self.origin,
            "source": self.source,
        }

    def titled(self, title: str) -> "DatasetManifest":
        """With another title, unless the data say themselves that they are something else."""
        honest = title if self.origin in ("", title) else f"{self.origin} (read as {title})"
        return replace(self, title=honest)

    def write(self, path: Path) -> None:
        """Write as jsonl, atomically."""
        lines = [canonical(asdict(track)) for track in self.tracks]
        with audio.atomic(path) as temporary, temporary.open("w") as file:
            header = canonical({**self.header, "lines": digest(lines)})
            file.writelines(f"{line}\n" for line in [header, *lines])

    @staticmethod
    def read(path: Path) -> "DatasetManifest":
        """Read a manifest; ``BadInputError`` when it is damaged, or was changed: levels and tags decide on numbers, too."""
        try:
            first, *lines = path.read_text().rstrip("\n").split("\n")
            header = json.loads(first)
            manifest = DatasetManifest(
                title=header["title"],
                split=header["split"],
                rate=header["rate"],
                tracks=tuple(track_from_json(json.loads(line)) for line in lines),
                origin=header["origin"],
                source=header["source"],
            )
            intact = header["lines"] == digest(lines)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadInputError(f"{path}: not a dataset manifest; remove it and prepare the dataset again") from None
        if not intact or manifest.digest != header["digest"]:
            raise BadInputError(f"{path}: its digest does not match its lines; remove it and prepare the dataset again")
        return manifest


def track_from_json(line: dict) -> Track:
    """A track from its line of the manifest."""
    stems = {
        name: Stem(sha256=stem["sha256"], levels=tuple(stem["levels"]), tags=tuple(stem["tags"]))
        for name, stem in line["stems"].items()
    }
    return Track(name=line["name"], frames=line["frames"], stems=stems, missing=tuple(line.get("missing", ())))


def describe_stem(samples: audio.Samples, rate: int, tags: tuple[str, ...] = ()) -> Stem:
    """The manifest's entry for one stem ``[1, samples]``."""
    seconds = [samples[0, start : start + rate] for start in range(0, samples.shape[1], rate)]
    mean_squares = np.array([np.mean(np.square(second, dtype=np.float64)) for second in seconds])
    levels = 10 * np.log10(np.maximum(mean_squares, 10 ** (SILENT_DB / 10)))
    return Stem(sha256=audio.sha256(samples), levels=tuple(int(level) for level in levels.round()), tags=tags)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a track, in samples. Its content identifies it: start, length and the sha256 of each of the track's stems."""

    track: str
    start: int
    length: int
    stems: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        """sha256 of the content; the track's *name* is not part of it."""
        return digest([self.start, self.length, *self.stems])


def excerpts(track: Track, length: int) -> Iterator[Excerpt]:
    """Cut a track into whole, adjacent chunks of ``length`` samples and drop the remainder (MSDM's rule)."""
    stems = track.identity
    for start in range(0, track.frames - length + 1, length):
        yield Excerpt(track=track.name, start=start, length=length, stems=stems)
