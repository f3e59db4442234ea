"""MiniSlakh as a dataset: rendered as raw Slakh2100 on first use, then read and prepared by Slakh2100's own reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest
from benchmarks.data.minislakh import COMPOSER_VERSION, render_split, track_folder
from benchmarks.data.minislakh.render import SOUNDFONT
from benchmarks.data.prepare import differences, prepare_split
from benchmarks.data.slakh2100 import read_track, state_of_track
from benchmarks.device import cores
from benchmarks.identity import digest
from benchmarks.notices import progress
from gmsdi import files
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
        """All that decides on the audio is in its name."""
        voice = digest([files.sha256(SOUNDFONT), version("tinysoundfont")])[:8]
        return Path(self.root) / f"seed{self.seed}-composer{COMPOSER_VERSION}-{voice}"

    def is_ready(self, name: str) -> bool:
        """Whether the split is rendered and prepared already."""
        return (self._home / f"{name}.jsonl").exists()

    def split(self, name: str) -> Dataset:
        """The split, rendered and prepared on first use, and prepared again where what was rendered has changed."""
        if name not in self.songs:
            raise BadInputError(f"MiniSlakh has no split {name!r}; it has {', '.join(self.songs)}")
        sources, folder = self._sources(name), self._home / name
        workers = self.workers or cores()
        if not all(source.is_dir() for source in sources):
            self._render(name, workers)
        state = digest([[source.name, state_of_track(source)] for source in sources])
        if self.is_ready(name):
            manifest = DatasetManifest.read(folder.with_suffix(".jsonl"))
            if manifest.source == state:
                return Dataset(folder, manifest.titled(self.title))
        return prepare_split(sources, read_track, state_of_track, folder, self.title, state, workers)

    def differences(self, dataset: Dataset) -> Iterator[tuple[Path, str]]:
        """The rendered tracks that are not what a prepared split was made from, and why not."""
        return differences(dataset, self._sources(dataset.manifest.split), read_track, self.workers)

    def _sources(self, name: str) -> list[Path]:
        return [track_folder(self._home / "raw", name, index) for index in range(self.songs[name])]

    def _render(self, name: str, workers: int) -> None:
        with progress(f"rendering {self.title} {name}", self.songs[name]) as advance:
            done = 0

            def report(now: int, _: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            render_split(self._home / "raw", name, self.songs[name], self.seed, workers, report)
