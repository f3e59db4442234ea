"""A folder that is already in MSDM's layout: ``{train,validation,test}/TrackNNNNN/{bass,drums,guitar,piano}.wav``.

The authors' own download of Slakh2100 has this layout; anybody's four stems can be put into it. The folder is only read. Its manifest
is kept in the cache, and made again when the size or the time of change of a file differs.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.dataset import Dataset, read_stems, track_folders
from benchmarks.data.manifest import DatasetManifest, Track, describe_stem
from benchmarks.data.prepare import fingerprint, origin_of
from benchmarks.identity import digest
from benchmarks.notices import progress
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import BadInputError

AUDIO = {".wav", ".wave", ".w64", ".flac", ".aif", ".aiff", ".au", ".caf", ".mp3", ".ogg", ".opus", ".m4a"}
"""The suffixes of what may hold a stem."""

ALIKE = 0.75
"""How much a name must be like a stem's to be meant for it: "Drums", "drum" and "paino" are, "vocals" and "mix" are not."""


@dataclass(frozen=True)
class MsdmLayout:
    """The dataset at ``root``; its manifests are kept in ``cache``."""

    title: str
    root: Path | str | None
    cache: Path | str

    def is_ready(self, name: str) -> bool:
        """Whether there is such a split."""
        return self.root is not None and (Path(self.root) / name).is_dir()

    def split(self, name: str) -> Dataset:
        """The split, indexed on first use."""
        if self.root is None:
            raise BadInputError("dataset=msdm_layout needs data=FOLDER, the folder that holds the split's folder")
        folder = Path(self.root) / name
        tracks = track_folders(folder)
        source = fingerprint([file for track in tracks for file in (track, *sorted(track.iterdir()))], folder)
        path = Path(self.cache) / f"{digest([str(folder.resolve()), source])}.jsonl"
        if path.exists():
            return Dataset(folder, DatasetManifest.read(path).titled(self.title))
        with progress(f"indexing {folder}", len(tracks)) as advance:
            entries = []
            for track in tracks:
                entries.append(_index(track))
                advance()
        origins = sorted({origin_of(track) for track in tracks} - {""})
        manifest = DatasetManifest(self.title, name, SAMPLE_RATE, tuple(entries), " and ".join(origins), source)
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(path)
        return Dataset(folder, manifest.titled(self.title))


def _index(folder: Path) -> Track:
    require_stem_names(folder)
    stems = read_stems(folder, SAMPLE_RATE)
    return Track(
        name=folder.name,
        frames=next(iter(stems.values())).shape[1],
        stems={stem: describe_stem(samples, SAMPLE_RATE) for stem, samples in stems.items()},
    )


def require_stem_names(folder: Path) -> None:
    """``BadInputError`` for the first of ``misnamed``."""
    for file, what in misnamed(folder):
        raise BadInputError(f"{file}: {what}")


def misnamed(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are meant for a stem but would not be read, in another form or almost called like one, and what to do about it.

    A stem without a file is silence, so a stem that is overlooked would be, too.
    """
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        stem = _meant(file)
        if stem and file.name != f"{stem}.wav":
            yield (
                file,
                f"would not be read, and {stem} be silence or another file; make it {stem}.wav (mono, 22 050 Hz) or move it",
            )


def _meant(file: Path) -> str:
    """The stem that a file is meant for by its name; "" if it is no audio, or called like none."""
    if file.suffix.lower() not in AUDIO:
        return ""
    alike = difflib.get_close_matches(file.stem.lower(), STEMS, n=1, cutoff=ALIKE)
    return alike[0] if alike else ""
