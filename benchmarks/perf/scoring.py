"""Scoring a test split: the literal per-window loop against the vectorised metric, on the same wavs."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import Track
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.perf.literal import literal
from gmsdi import SAMPLE_RATE, STEMS, audio

T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """Seconds of the two ways over a whole split (both protocols each), and how far apart their values are (dB)."""

    songs: int
    literal: float
    literal_computing: float  # without reading the wavs
    vectorised: float
    vectorised_computing: float  # without reading the wavs
    worst: float


def compare(dataset: Dataset, folder: Path, workers: int) -> Comparison:
    """Score noisy copies of the stems, written to ``folder``, both ways. A first, uncounted, pass warms caches and compilers."""
    tracks = dataset.manifest.tracks
    for track in tracks:
        _write_estimates(dataset, track, folder)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda track: _vectorised(*_read(dataset, folder, track)), tracks))
        fast, vectorised = _timed(
            lambda: list(pool.map(lambda track: _vectorised(*_read(dataset, folder, track)), tracks))
        )
        loaded = [_read(dataset, folder, track) for track in tracks]
        _, vectorised_computing = _timed(lambda: list(pool.map(lambda stems: _vectorised(*stems), loaded)))
    _, literal_computing = _timed(lambda: [_literal(*stems) for stems in loaded])
    slow, literal_seconds = _timed(lambda: [_literal(*_decode(dataset, folder, track)) for track in tracks])
    worst = max(np.abs(one - two).max() for one, two in zip(slow, fast, strict=True))
    return Comparison(len(tracks), literal_seconds, literal_computing, vectorised, vectorised_computing, float(worst))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def _write_estimates(dataset: Dataset, track: Track, folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / track.name).mkdir()
    for stem, samples in zip(STEMS, dataset.stems(track), strict=True):
        noise = 0.01 * rng.standard_normal(track.frames, dtype=np.float32)
        audio.write(folder / track.name / f"{stem}.wav", (samples + noise)[None], dataset.manifest.rate)


Stems = list[np.ndarray]


def _read(dataset: Dataset, folder: Path, track: Track) -> tuple[Stems, Stems]:
    estimates = [audio.read(folder / track.name / f"{stem}.wav")[0][0] for stem in STEMS]
    references = [_or_silence(dataset, track, stem, lambda path: audio.read(path)[0][0]) for stem in STEMS]
    return estimates, references


def _decode(dataset: Dataset, folder: Path, track: Track) -> tuple[Stems, Stems]:
    """A track's stems, read as the literal loop's authors do: with an audio library, one file after the other."""
    estimates = [soundfile.read(folder / track.name / f"{stem}.wav", dtype="float32")[0] for stem in STEMS]
    references = [
        _or_silence(dataset, track, stem, lambda path: soundfile.read(path, dtype="float32")[0]) for stem in STEMS
    ]
    return estimates, references


def _or_silence(dataset: Dataset, track: Track, stem: str, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    path = dataset.folder / track.name / f"{stem}.wav"
    return read(path) if path.exists() else np.zeros(track.frames, dtype=np.float32)


def _vectorised(estimates: Stems, references: Stems) -> np.ndarray:
    return SiSDR()(estimates, references, SAMPLE_RATE)["msdm"].values


def _literal(estimates: Stems, references: Stems) -> np.ndarray:
    return literal(estimates, references, SAMPLE_RATE)["msdm"]
