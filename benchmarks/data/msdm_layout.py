"""A folder that is already in MSDM's layout: ``{train,validation,test}/TrackNNNNN/{bass,drums,guitar,piano}.wav``.

The authors' own download of Slakh2100 has this layout; anybody's four stems can be put into it. The folder is only read. Its manifest
is kept in the cache, and made again when the size or the time of change of a file differs.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.data.dataset import Dataset, read_stems, track_folders
from benchmarks.data.manifest import DatasetManifest, Track, describe_stem
from benchmarks.identity import digest
from benchmarks.notices import progress
from gmsdi import SAMPLE_RATE
from gmsdi.errors import BadInputError


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
        path = Path(self.cache) / f"{_fingerprint(tracks)}.jsonl"
        if path.exists():
            return Dataset(folder, replace(DatasetManifest.read(path), title=self.title))
        with progress(f"indexing {folder}", len(tracks)) as advance:
            entries = []
            for track in tracks:
                entries.append(_index(track))
                advance()
        manifest = DatasetManifest(self.title, name, SAMPLE_RATE, tuple(entries))
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(path)
        return Dataset(folder, manifest)


def _fingerprint(tracks: list[Path]) -> str:
    files = [file for track in tracks for file in sorted(track.glob("*.wav"))]
    states = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return digest([[track.name for track in tracks], states])


def _index(folder: Path) -> Track:
    stems = read_stems(folder, SAMPLE_RATE)
    return Track(
        name=folder.name,
        frames=next(iter(stems.values())).shape[1],
        stems={stem: describe_stem(samples, SAMPLE_RATE) for stem, samples in stems.items()},
    )
