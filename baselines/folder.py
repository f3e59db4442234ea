"""Anybody's separator: finished wavs from a folder, ``DIR/TRACK/STEM.wav``, scored like every other system."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmsdi import STEMS, audio, files
from gmsdi.errors import BadInputError
from gmsdi.system import Batch, Separator

SUFFIXES = (".wav", ".flac")
LENGTH_TOLERANCE = 0.1
"""Seconds by which an estimate may be too short for an excerpt, or longer than its track."""


class FolderEstimates(Separator):
    """Estimates read from ``estimates`` by the tracks' names. Any subset of tracks; another rate is resampled, stereo is mixed down.

    Raises ``BadInputError`` for a stem that is missing, there twice, too short or too long, and for unreadable audio.
    """

    reads_places = True

    def __init__(self, estimates: Path | str | None) -> None:
        self.folder = _existing(estimates)
        self.tracks = {path.parent.name for path in _files(self.folder)}
        # the chunks of a track are read one after the other; no cache outlives the files that were identified
        self._read = lru_cache(maxsize=2 * len(STEMS))(_read)

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """The sha256 of every file, by its place in the folder: other files make another system, another folder does not."""
        folder = _existing(arguments["estimates"])
        return {str(path.relative_to(folder)): files.sha256(path) for path in _files(folder)}

    def covers(self, track: str) -> bool:
        return track in self.tracks

    def separate(self, batch: Batch) -> torch.Tensor:
        length = batch.mixtures.shape[1]
        estimates = [
            self._excerpt(track, start, length, frames, batch.rate)
            for track, start, frames in zip(batch.tracks, batch.starts, batch.frames, strict=True)
        ]
        return torch.from_numpy(np.stack(estimates))  # [B, K, T]

    def _excerpt(self, track: str, start: int, length: int, frames: int, rate: int) -> audio.Samples:
        excerpt = np.zeros((len(STEMS), length), dtype=np.float32)
        for k, stem in enumerate(STEMS):
            path = self._path(track, stem)
            samples = self._read(path, rate)
            lacking = (start + length - len(samples)) / rate
            if lacking > LENGTH_TOLERANCE:
                raise BadInputError(f"{path}: ends {lacking:.2f} s before the excerpt does; is it of the whole song?")
            excess = (len(samples) - frames) / rate
            if excess > LENGTH_TOLERANCE:
                raise BadInputError(f"{path}: {excess:.2f} s longer than the song; is the rate in its header right?")
            piece = samples[start : start + length]
            excerpt[k, : len(piece)] = piece
        return excerpt

    def _path(self, track: str, stem: str) -> Path:
        paths = [path for suffix in SUFFIXES if (path := self.folder / track / f"{stem}{suffix}").exists()]
        if not paths:
            raise BadInputError(
                f"{self.folder / track}: no estimate of {stem}; write {stem}.wav (zeros if there is none)"
            )
        if len(paths) > 1:
            raise BadInputError(f"{self.folder / track}: {stem} is there as {' and '.join(SUFFIXES)}; remove one")
        return paths[0]


def _read(path: Path, rate: int) -> audio.Samples:
    """A whole estimate ``[samples]``."""
    samples, file_rate = audio.read(path)
    if file_rate != rate:
        _notice(f"estimates at {file_rate} Hz are resampled to {rate} Hz")
    if samples.shape[0] > 1:
        _notice(f"estimates of {samples.shape[0]} channels are mixed down to mono")
    return audio.resample(audio.mono(samples), file_rate, rate)[0]


@lru_cache
def _notice(message: str) -> None:
    """Log a warning once."""
    logging.getLogger(__name__).warning(message)


def _existing(estimates: Path | str | None) -> Path:
    if estimates is None:
        raise BadInputError("system=folder needs estimates=DIR, the folder that holds DIR/TRACK/STEM.wav")
    folder = Path(estimates)
    if not folder.is_dir() or not _files(folder):
        raise BadInputError(f"{folder}: holds no TRACK/STEM.wav with STEM one of {', '.join(STEMS)}; check estimates=…")
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.stem in STEMS and path.suffix in SUFFIXES)
