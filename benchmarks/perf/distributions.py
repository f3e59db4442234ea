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
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import config
from benchmarks.device import cores
from benchmarks.metrics import fad_library
from benchmarks.metrics.frechet import Floats, Statistics, gaussians
from benchmarks.metrics.pretrained import VGGish
from benchmarks.perf import random_vggish
from gmsdi import audio

T = TypeVar("T")

SONGS = 4
SIZES = (128, 512)
"""Features of the covariances; VGGish has as many as the smaller, CLAP as the larger."""

REPEATS = 5


@dataclass(frozen=True)
class Spent:
    """Seconds of one piece of work. On a shared machine only those of the processor can be compared, not those of the clock."""

    clock: float
    processor: float  # of all threads


@dataclass(frozen=True)
class Embedding:
    """The time of both ways from files to embeddings, with and without reading and resampling, and how far apart their results are."""

    files: int
    duration: float  # of the audio, s
    theirs: Spent
    theirs_computing: Spent
    ours: Spent
    ours_computing: Spent
    convolving: Spent  # ours, the convolutions alone: the arithmetic that both ways have in common
    operations: float  # of the convolutions, floating-point
    worst: float
    largest: float  # value of an embedding

    def line(self, label: str) -> str:
        """The result for a person."""

        def compared(ours: Spent, theirs: Spent) -> str:
            return (
                f"{self.duration / ours.clock:.0f} s of audio a second, the library's loop {self.duration / theirs.clock:.0f}: "
                f"{theirs.clock / ours.clock:.1f} x, in processor time {theirs.processor / ours.processor:.1f} x"
            )

        return (
            f"{label}, {self.files} songs of {self.duration:.0f} s together: {compared(self.ours, self.theirs)}\n"
            f"  without reading and resampling: {compared(self.ours_computing, self.theirs_computing)}\n"
            f"  processor time: the library's loop {self.theirs.processor:.1f} s, ours {self.ours.processor:.1f} s, of which the "
            f"convolutions {self.convolving.processor:.1f} s: {self.operations / self.convolving.processor / 1e9:.0f} GFLOP/s a core\n"
            f"  largest difference {self.worst:.1e} where values reach {self.largest:.1e}"
        )


@dataclass(frozen=True)
class Distance:
    """Seconds of both ways from two Gaussians to their distance, the best of ``REPEATS``, and the results' relative difference."""

    theirs: float
    ours: float
    worst: float


def report() -> None:
    """Print all results. Mixtures of the offline dataset are embedded one at a time, and then as many at a time as there are cores."""
    dataset = config.build(config.load([]).dataset).split("test")
    with tempfile.TemporaryDirectory() as folder, _torch_home(Path(folder)):
        random_vggish.lay_out()
        songs = Path(folder) / "songs"
        songs.mkdir()
        for track in dataset.manifest.tracks[:SONGS]:
            mixture = audio.mixture(np.stack(list(dataset.stems(track))))
            audio.write(songs / f"{track.name}.wav", mixture[None], dataset.manifest.rate)
        for workers in sorted({1, cores()}):
            found = embedding(songs, workers)
            print(found.line(f"VGGish, {workers} at a time"))
    for size in SIZES:
        distance = frechet(size)
        print(
            f"Fréchet distance of {size} features: {1000 * distance.ours:.2f} ms, the library's matrix root "
            f"{1000 * distance.theirs:.0f} ms: {distance.theirs / distance.ours:.0f} x; relative difference {distance.worst:.0e}"
        )


def embedding(folder: Path, workers: int) -> Embedding:
    """Embed the audio files of ``folder``, ``workers`` at a time; the library embeds one at a time, on all cores. Warms up first."""
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
        examples = [embedder.examples(torch.from_numpy(each)) for each in heard]
        _, convolving = _timed(lambda: list(pool.map(embedder.convolve, examples)))
    with FlopCounterMode(display=False) as counter:
        embedder.convolve(examples[0])
    return Embedding(
        files=len(paths),
        duration=sum(len(samples) for samples in heard) / embedder.rate,
        theirs=theirs,
        theirs_computing=theirs_computing,
        ours=ours,
        ours_computing=ours_computing,
        convolving=convolving,
        operations=counter.get_total_flops() / len(examples[0]) * sum(map(len, examples)),
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
    """Read files as the library's ``score`` does: in threads, resampled, in the order of ``os.listdir``."""
    heard: list[np.ndarray] = library._FrechetAudioDistance__load_audio_files(str(folder))
    return heard


def _timed(work: Callable[[], T]) -> tuple[T, Spent]:
    began = time.perf_counter(), time.process_time()
    done = work()
    return done, Spent(time.perf_counter() - began[0], time.process_time() - began[1])


def _best(work: Callable[[], T]) -> tuple[T, float]:
    """The shortest of ``REPEATS`` runs by the clock, after a first one to warm up."""
    done = work()
    return done, min(_timed(work)[1].clock for _ in range(REPEATS))


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads that share the cores; each of several computes on its own part of them."""
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
