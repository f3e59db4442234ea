"""A person's own songs to stems: a folder of stems for every file, and one line for each file that there can be none for."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig

from benchmarks.notices import Advance, progress, say
from benchmarks.plan.systems import SystemSpec, resolve, stands_alone
from benchmarks.run.execute import FULL
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError, GmsdiError, one_line
from gmsdi.song import count_chunks, separate_song
from gmsdi.system import Separator


@dataclass(frozen=True)
class Song:
    """A file, and the folder that its stems go to, which appears complete or not at all."""

    file: Path
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def require_possible(self) -> None:
        """Raise ``BadInputError`` for what can be known before anything is computed."""
        if self.file.is_dir():
            raise BadInputError(f"{self.file}: is a folder; give the files in it")
        if not self.file.exists():
            raise BadInputError(f"{self.file}: no such audio file")
        if self.folder.exists():
            raise BadInputError(f"{self.file}: {self.folder} exists already; remove it, or give another out=DIR")


def songs_of(files: Sequence[str], out: Path) -> list[Song]:
    """The songs in ``files``; ``BadInputError`` when there are none, or when two of them would go to one folder."""
    if not files:
        raise BadInputError("there is nothing to separate: give at least one FILE")
    songs: dict[str, Song] = {}
    for file in map(Path, files):
        song = Song(file, out / file.stem)
        if (other := songs.setdefault(file.stem, song)) is not song:
            raise BadInputError(
                f"{other.file} and {file} would both go to {song.folder}; rename one, or give it another out=DIR"
            )
    return list(songs.values())


def lone_system(systems: DictConfig) -> SystemSpec:
    """The one system that was asked for; ``BadInputError`` unless it needs nothing but a song."""
    names = [str(name) for name in systems]
    if len(names) != 1:
        chosen = ", ".join(names) or "none"
        raise BadInputError(f"songs are separated by one system, not by {len(names)} ({chosen}); give system=NAME")
    if not stands_alone(names[0], systems[names[0]]):
        raise BadInputError(f"system={names[0]} does not separate songs by itself; choose one that does")
    return resolve(names[0], systems[names[0]])


@dataclass(frozen=True)
class Separation:
    """How songs are separated, and where their folders are made."""

    system: SystemSpec
    out: Path
    seed: int
    batch_size: int  # chunks
    device: str

    def run(self, songs: Sequence[Song]) -> None:
        """Separate all songs. One that fails does not stop the others, only a full disk does.

        At the end ``BadInputError`` says how many failed; an error that is no fault of the input is raised as it is.
        """
        separator = self._build()
        failures: dict[Song, Exception] = {}

        def attempt(step: Callable[[Song], None], song: Song) -> None:
            try:
                step(song)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                say(f"error: {_line(error, song)}")
                failures[song] = error

        for song in songs:
            attempt(Song.require_possible, song)
        todo = [song for song in songs if song not in failures]
        with _hidden_folder(self.out) as hidden:
            for n, song in enumerate(todo, 1):
                attempt(partial(self._separate, separator, hidden, f"song {n} of {len(todo)}"), song)
        for error in failures.values():
            if not isinstance(error, GmsdiError | OSError):
                raise error
        if failures:
            raise BadInputError(f"{len(failures)} of {len(songs)} songs failed, see above; mend the input")

    def _build(self) -> Separator:
        separator = self.system.build()
        if separator.reads_references:
            raise BadInputError(
                f"system={self.system.name} is an oracle, made from the true stems; choose one that separates"
            )
        return separator

    def _separate(self, separator: Separator, hidden: Path, label: str, song: Song) -> None:
        """Write a song's stems to a ``hidden`` folder, and move them to their place when all of them are on disk."""
        samples, rate = audio.read(song.file)
        with progress(label, count_chunks(samples.shape[1], rate)) as advance:
            stems = self._stems(separator, song, samples, rate, advance)
        made = hidden / song.name
        made.mkdir()
        for stem in self.system.stems:
            audio.write(made / f"{stem}.wav", stems[STEMS.index(stem)][None], rate)
        made.rename(song.folder)
        for stem in self.system.stems:
            print(song.folder / f"{stem}.wav", flush=True)

    def _stems(
        self, separator: Separator, song: Song, samples: audio.Samples, rate: int, advance: Advance
    ) -> audio.Samples:
        """The stems ``[K, T]``; ``BadInputError`` that names the song when they cannot be had."""
        if not separator.covers(song.name):
            raise BadInputError(f"{song.file}: the system has nothing of a song {song.name}")
        try:
            return separate_song(
                separator,
                samples,
                rate,
                name=song.name,
                seed=self.seed,
                batch_size=self.batch_size,
                device=self.device,
                advance=advance,
            )
        except torch.OutOfMemoryError:
            raise BadInputError(
                f"{song.file}: {self.device} has no memory for {self.batch_size} chunks at a time; give a smaller batch_size=…"
            ) from None
        except GmsdiError as error:
            raise BadInputError(f"{song.file}: {error}") from None


@contextmanager
def _hidden_folder(out: Path) -> Iterator[Path]:
    """A folder in ``out`` that is gone in the end; ``BadInputError`` when there can be none, before anything is computed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".separating-", dir=out)
    except OSError as error:
        raise BadInputError(f"{out}: cannot be written to ({error.strerror}); give another out=DIR") from None
    with folder as name:
        yield Path(name)


def _line(error: Exception, song: Song) -> str:
    """What went wrong with a song, in one line."""
    if isinstance(error, GmsdiError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or song.file}: {error.strerror or error}"
    return f"{song.file}: {type(error).__name__}: {one_line(error)}"
