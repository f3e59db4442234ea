"""MiniSlakh as a dataset: rendered as raw Slakh2100 on first use, then read and prepared by Slakh2100's own reader."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest
from benchmarks.data.minislakh import COMPOSER_VERSION, render_split, track_folder
from benchmarks.data.prepare import prepare_split
from benchmarks.data.slakh2100 import read_track
from benchmarks.device import cores
from benchmarks.notices import progress
from gmsdi.errors import BadInputError


@dataclass(frozen=True)
class MiniSlakh:
    """``songs[split]`` songs of each split from ``seed``, below ``root``. More songs extend a split; its others stay as they are."""

    title: str
    root: Path | str
    seed: int
    songs: dict[str, int]
    workers: int = 0

    @property
    def _home(self) -> Path:
        return Path(self.root) / f"seed{self.seed}-composer{COMPOSER_VERSION}"

    def is_ready(self, name: str) -> bool:
        """Whether the split is rendered and prepared already."""
        return (self._home / f"{name}.jsonl").exists()

    def split(self, name: str) -> Dataset:
        """The split, rendered and prepared on first use."""
        if name not in self.songs:
            raise BadInputError(f"MiniSlakh has no split {name!r}; it has {', '.join(self.songs)}")
        sources = [track_folder(self._home / "raw", name, index) for index in range(self.songs[name])]
        folder = self._home / name
        if folder.with_suffix(".jsonl").exists():
            manifest = DatasetManifest.read(folder.with_suffix(".jsonl"))
            if [track.name for track in manifest.tracks] == [source.name for source in sources]:
                return Dataset(folder, replace(manifest, title=self.title))
        workers = self.workers or cores()
        with progress(f"rendering {self.title} {name}", len(sources)) as advance:
            done = 0

            def report(now: int, _: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            render_split(self._home / "raw", name, len(sources), self.seed, workers, report)
        return prepare_split(sources, read_track, folder, self.title, workers)
