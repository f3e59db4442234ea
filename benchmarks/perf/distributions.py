"""Metrics of distributions: embeddings and Fréchet distances against those of the library ``frechet-audio-distance``.

The embedder is VGGish with random weights, which takes as long as the official one: the same files, network and weights on both sides.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks import config
from benchmarks.metrics import fad_library
from benchmarks.metrics.frechet import Floats, Statistics, gaussians
from benchmarks.metrics.pretrained import VGGish
from benchmarks.perf import random_vggish
from gmsdi import audio

T = TypeVar("T")

SONGS = 6
SIZES = (128, 512)
"""Features of the covariances; VGGish has as many as the smaller, CLAP as the larger."""

REPEATS = 5


@dataclass(frozen=True)
class Embedding:
    """Seconds of the two ways from files to embeddings, and without reading and resampling; and how far apart they are."""

    files: int
    duration: float  # of the audio, s
    theirs: float
    theirs_computing: float
    ours: float
    ours_computing: float
    worst: float
    largest: float  # value of an embedding


@dataclass(frozen=True)
class Distance:
    """Seconds of the two ways from two Gaussians to their distance, the best of ``REPEATS``; and how far apart they are, relatively."""

    theirs: float
    ours: float
    worst: float


def report() -> None:
    """Print all of it: mixtures of the offline dataset, embedded one after the other and as many at a time as there are cores."""
    dataset = config.build(config.load([]).dataset).split("test")
    with tempfile.TemporaryDirectory() as folder, _torch_home(Path(folder)):
        random_vggish.lay_out()
        songs = Path(folder) / "songs"
        songs.mkdir()
        for track in dataset.manifest.tracks[:SONGS]:
            mixture = audio.mixture(np.stack(list(dataset.stems(track))))
            audio.write(songs / f"{track.name}.wav", mixture[None], dataset.manifest.rate)
        for workers in sorted({1, os.cpu_count() or 1}):
            found = embedding(songs, workers)
            print(
                f"VGGish of {found.files} songs, {found.duration:.0f} s, {workers} at a time: {found.duration / found.ours:.0f} s of "
                f"audio a second, the library's own loop {found.duration / found.theirs:.0f}: {found.theirs / found.ours:.1f} x; "
                f"without reading and resampling {found.duration / found.ours_computing:.0f} and "
                f"{found.duration / found.theirs_computing:.0f}: {found.theirs_computing / found.ours_computing:.1f} x; "
                f"largest difference {found.worst:.1e} where values reach {found.largest:.1e}"
            )
    for size in SIZES:
        distance = frechet(size)
        print(
            f"Fréchet distance of {size} features: {1000 * distance.ours:.2f} ms, the library's matrix root "
            f"{1000 * distance.theirs:.0f} ms: {distance.theirs / distance.ours:.0f} x; relative difference {distance.worst:.0e}"
        )


def embedding(folder: Path, workers: int) -> Embedding:
    """Embed the audio files of ``folder``, ``workers`` at a time; the library's loop has all cores for one. A first pass warms up."""
    paths = list(folder.iterdir())  # in the order in which the library lists them
    library, embedder = fad_library.load("vggish"), VGGish()
    heard = _read_by_library(library, folder)
    library.get_embeddings(heard[:1], embedder.rate)
    _, theirs = _timed(lambda: library.get_embeddings(_read_by_library(library, folder), embedder.rate))
    expected, theirs_computing = _timed(lambda: library.get_embeddings(heard, embedder.rate))
    with _workers(workers) as pool:
        list(pool.map(lambda path: _embed_file(embedder, path), paths))
        found, ours = _timed(lambda: list(pool.map(lambda path: _embed_file(embedder, path), paths)))
        _, ours_computing = _timed(lambda: list(pool.map(lambda each: embedder.embed(each, embedder.rate), heard)))
    return Embedding(
        files=len(paths),
        duration=sum(len(samples) for samples in heard) / embedder.rate,
        theirs=theirs,
        theirs_computing=theirs_computing,
        ours=ours,
        ours_computing=ours_computing,
        worst=float(np.abs(np.concatenate(found) - expected).max()),
        largest=float(np.abs(expected).max()),
    )


def frechet(size: int) -> Distance:
    """The distance of two sets of ``8 · size`` embeddings that differ in mean and covariance."""
    random = np.random.default_rng(size)
    axes = random.standard_normal((size, size)) / np.sqrt(size) + np.eye(size)
    rows = random.standard_normal((8 * size, size)), random.standard_normal((8 * size, size)) @ axes + 0.1
    moments: list[Floats] = []
    for each in map(Statistics.of, rows):
        moments += [each.mean, each.covariance]
    library = fad_library.module().FrechetAudioDistance
    expected, theirs = _best(lambda: library.calculate_frechet_distance(None, *moments))
    found, ours = _best(lambda: gaussians(*moments))
    return Distance(theirs, ours, abs(found - expected) / expected)


def _embed_file(embedder: VGGish, path: Path) -> np.ndarray:
    samples, rate = audio.read(path)
    return embedder.embed(samples[0], rate).numpy()


def _read_by_library(library: Any, folder: Path) -> list[np.ndarray]:
    """As ``score`` does it: read and resampled in threads, in the order of ``os.listdir``."""
    heard: list[np.ndarray] = library._FrechetAudioDistance__load_audio_files(str(folder))
    return heard


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def _best(work: Callable[[], T]) -> tuple[T, float]:
    """The shortest of ``REPEATS`` runs after a first one."""
    done = work()
    return done, min(_timed(work)[1] for _ in range(REPEATS))


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that share the cores: where there are several, each computes on its part of them alone."""
    before = torch.get_num_threads()
    each = max(1, before // count)
    torch.set_num_threads(each)
    try:
        with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(each)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


@contextmanager
def _torch_home(folder: Path) -> Iterator[None]:
    before = os.environ.get("TORCH_HOME")
    os.environ["TORCH_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_HOME"]
        else:
            os.environ["TORCH_HOME"] = before
