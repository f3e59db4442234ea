"""Slakh2100 as it is downloaded (original or redux), prepared into MSDM's layout.

Source: Manilow et al., "Cutting Music Source Separation Some Slakh" (WASPAA 2019). A raw track is
``TrackNNNNN/{metadata.yaml, all_src.mid, mix.flac, MIDI/Sxx.mid, stems/Sxx.flac}``; ``inst_class`` in the metadata says which of the
four stems a source belongs to, and sources of one class are summed. Other classes (strings, organ, …) are left out, as in MSDM.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from benchmarks.data.dataset import Dataset, require_mono, track_folders
from benchmarks.data.manifest import DatasetManifest
from benchmarks.data.prepare import SourceTrack, differences, fingerprint, prepare_split
from benchmarks.identity import digest
from benchmarks.notices import say, warn
from gmsdi import SAMPLE_RATE, audio
from gmsdi.errors import BadInputError, one_line

STEM_OF_CLASS = {"Bass": "bass", "Drums": "drums", "Guitar": "guitar", "Piano": "piano"}
"""Slakh2100's ``inst_class`` to our stems."""

PRECEDENCE = ("test", "validation", "train")
"""Of tracks with the same MIDI, the one in the first of these splits is kept, so that the test set loses the fewest songs."""


@dataclass(frozen=True)
class Slakh2100:
    """The dataset at ``raw`` (the folder that holds ``train/ validation/ test/``), prepared below ``prepared``.

    ``workers`` processes prepare tracks; 0 takes one a core.
    """

    title: str
    raw: Path | str | None
    prepared: Path | str
    workers: int = 0

    def is_ready(self, name: str) -> bool:
        """Whether the split is prepared already."""
        return (Path(self.prepared) / f"{name}.jsonl").exists()

    def split(self, name: str) -> Dataset:
        """The split, prepared on first use, and again where ``raw`` has changed. The redux's ``omitted`` folder is never a source.

        Without ``raw`` what is prepared is taken as it is.
        """
        if name not in PRECEDENCE:
            raise BadInputError(f"split={name}: Slakh2100 has no such split; choose one of {', '.join(PRECEDENCE)}")
        folder = Path(self.prepared) / name
        if self.raw is None:
            if not self.is_ready(name):
                raise BadInputError(
                    "dataset=slakh2100 needs data=FOLDER, the folder that holds train/ validation/ test/"
                )
            return Dataset(folder, DatasetManifest.read(folder.with_suffix(".jsonl")).titled(self.title))
        self._require_same_source()
        state = _state_of_split(Path(self.raw), name)
        if self.is_ready(name):
            manifest = DatasetManifest.read(folder.with_suffix(".jsonl")).titled(self.title)
            if manifest.source == state:
                return Dataset(folder, manifest)
        self._source.parent.mkdir(parents=True, exist_ok=True)
        self._source.write_text(str(Path(self.raw).resolve()))
        tracks = without_duplicates(Path(self.raw), name)
        return prepare_split(tracks, read_track, state_of_track, folder, self.title, state, self.workers)

    def differences(self, dataset: Dataset) -> Iterator[tuple[Path, str]] | None:
        """The raw tracks that are not what a prepared split was made from, and why not; None if there is no ``raw`` to compare with."""
        if self.raw is None:
            return None
        tracks = without_duplicates(Path(self.raw), dataset.manifest.split)
        return differences(dataset, tracks, read_track, self.workers)

    @property
    def _source(self) -> Path:
        return Path(self.prepared) / "source.txt"

    def _require_same_source(self) -> None:
        """Raise ``BadInputError`` when the prepared tracks come from another folder than ``raw``."""
        if self.raw is None or not self._source.exists():
            return
        if (source := self._source.read_text()) != str(Path(self.raw).resolve()):
            raise BadInputError(
                f"{self.prepared}: prepared from {source}, not from {self.raw}; give another cache=DIR, or remove {self._source} "
                "if it is the same data"
            )


def without_duplicates(raw: Path, split: str) -> list[Path]:
    """The track folders of a split, without those whose ``all_src.mid`` an earlier track has, in the order of ``PRECEDENCE``.

    The original Slakh2100 holds the same MIDI under several names, across splits; the redux moved the copies to ``omitted``.
    """
    first: dict[str, Path] = {}
    for other in _splits_before(raw, split):
        for track in track_folders(raw / other):
            first.setdefault(_midi_md5(track), track)
    tracks = track_folders(raw / split)
    kept = [track for track in tracks if first[_midi_md5(track)] == track]
    if len(kept) < len(tracks):
        say(f"{raw / split}: {len(tracks) - len(kept)} of {len(tracks)} tracks left out, their MIDI is another track's")
    return kept


def _splits_before(raw: Path, split: str) -> list[str]:
    """The splits that a split must not share songs with, and the split itself."""
    return [each for each in PRECEDENCE[: PRECEDENCE.index(split) + 1] if each == split or (raw / each).is_dir()]


def _midi_md5(track: Path) -> str:
    midi = track / "all_src.mid"
    if not midi.is_file():
        return str(track)
    return hashlib.md5(midi.read_bytes(), usedforsecurity=False).hexdigest()


def state_of_track(folder: Path) -> str:
    """The fingerprint of the files that ``read_track`` looks at."""
    stems = sorted(folder.glob("stems/*.flac"))
    return fingerprint([folder / "metadata.yaml", *stems], folder)


def _state_of_split(raw: Path, split: str) -> str:
    """The fingerprint of all that decides on a split: its tracks, and the MIDI of those that may be copies of each other."""
    midis = [track / "all_src.mid" for other in _splits_before(raw, split) for track in track_folders(raw / other)]
    return digest(
        [[track.name, state_of_track(track)] for track in track_folders(raw / split)] + [fingerprint(midis, raw)]
    )


def read_track(folder: Path) -> SourceTrack:
    """Read one raw track: sources summed by class, 22 050 Hz mono, tags from the metadata, and the sources without a file.

    A rendered source whose file is missing is silence, with a warning; ``BadInputError`` for everything that cannot be read.
    """
    parts: dict[str, list[audio.Samples]] = {}
    tags: dict[str, list[str]] = {}
    missing = []
    origin, sources = _sources(folder)
    for name, stem, program in sources:
        path = folder / "stems" / f"{name}.flac"
        if not path.exists():
            warn(f"{path}: {stem} is in metadata.yaml but has no file; taken as silence")
            missing.append(name)
            continue
        samples, rate = audio.read(path)
        require_mono(samples, path)
        parts.setdefault(stem, []).append(audio.resample(samples, rate, SAMPLE_RATE))
        tags.setdefault(stem, []).append(program)
    if not parts:
        raise BadInputError(f"{folder}: none of {', '.join(STEM_OF_CLASS)} among its sources; leave the track out")
    stems = {stem: _sum(samples) for stem, samples in parts.items()}
    return SourceTrack(stems, {stem: tuple(names) for stem, names in tags.items()}, tuple(missing), origin)


def _sources(folder: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """What the track says that it is, and its rendered sources of the four classes: name, stem and instrument, in name order."""
    path = folder / "metadata.yaml"
    try:
        metadata = yaml.safe_load(path.read_text())
        sources = sorted(metadata["stems"].items())
        return "MiniSlakh" if "minislakh" in metadata else "", [
            (name, STEM_OF_CLASS[source["inst_class"]], source["midi_program_name"])
            for name, source in sources
            if source["inst_class"] in STEM_OF_CLASS and source["audio_rendered"]
        ]
    except FileNotFoundError:
        raise BadInputError(f"{path}: missing; is {folder} a raw Slakh2100 track?") from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path}: not Slakh2100 metadata ({type(error).__name__}: {one_line(error)}); copy it again"
        ) from None


def _sum(parts: list[audio.Samples]) -> audio.Samples:
    """The sum of sources ``[1, samples]`` of one class; a shorter one ends in silence (their tails differ by milliseconds)."""
    total = np.zeros((1, max(part.shape[1] for part in parts)), dtype=np.float32)
    for part in parts:
        total[:, : part.shape[1]] += part
    return total
