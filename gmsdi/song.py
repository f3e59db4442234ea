"""A whole song through a separator: any rate, any number of channels, any length, in chunks that fade into each other.

A separator hears mono at 22 050 Hz, ``CHUNK`` samples at a time. Its stems are put together again at the song's own rate and length, so
they align with the song sample by sample; they stay mono, and have nothing above 11 025 Hz.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.system import Batch, Place, Separator, item_seed

CHUNK = 262_144
"""Samples, 11.89 s: MSDM's chunk, which every network here can read."""

OVERLAP = 32_768
"""Samples, 1.49 s: the least overlap of neighbouring chunks, and the length of the fade from one into the next."""

RAMP = np.sin(np.pi / 2 * (np.arange(OVERLAP) + 0.5) / OVERLAP).astype(np.float32) ** 2
"""The weight of the later of two chunks, ``[OVERLAP]``; the earlier has 1 minus it. Both start and end without a corner."""


def separate_song(
    separator: Separator,
    samples: audio.Samples,
    rate: int,
    *,
    name: str = "song",
    seed: int = 0,
    batch_size: int = 8,
    device: str = "cpu",
    advance: Callable[[int], object] = lambda chunks: None,
) -> audio.Samples:
    """The stems ``[K, T]`` of a song ``[channels, T]`` at ``rate`` Hz, in the order of ``gmsdi.STEMS``.

    The separator gets ``batch_size`` chunks at a time. After each batch ``advance`` is told how many chunks it had; all of them are
    ``count_chunks``. The stems do not depend on the batches: a chunk's noise is seeded by ``seed``, the song's content and its place.
    """
    mixture = _at_rate(audio.mono(samples), rate, SAMPLE_RATE, _frames(samples.shape[1], rate))[0]
    stems = np.empty((len(STEMS), max(len(mixture), CHUNK)), dtype=np.float32)
    covered = 0
    for places, batch in _batches(mixture, name, seed, batch_size, device):
        told = replace(batch, places=places if separator.reads_places else None)
        for place, estimate in zip(places, _separate(separator, told, places), strict=True):
            _lay(stems, estimate, place.start, covered)
            covered = place.start + CHUNK
        advance(len(places))
    return _at_rate(stems[:, : len(mixture)], SAMPLE_RATE, rate, samples.shape[1])


def count_chunks(frames: int, rate: int) -> int:
    """How many chunks a song of ``frames`` samples at ``rate`` Hz is separated in."""
    return len(chunk_starts(_frames(frames, rate)))


def chunk_starts(frames: int) -> list[int]:
    """Where the chunks of a song of ``frames`` samples start: the fewest that overlap by ``OVERLAP`` or more, evenly spread.

    So only a song that is shorter than a chunk has silence appended.
    """
    gaps = max(0, -((CHUNK - frames) // (CHUNK - OVERLAP)))
    return [n * (frames - CHUNK) // max(gaps, 1) for n in range(gaps + 1)]


def _batches(
    mixture: audio.Samples, name: str, seed: int, batch_size: int, device: str
) -> Iterator[tuple[tuple[Place, ...], Batch]]:
    """The chunks of a mixture ``[T]``, in their order, ``batch_size`` at a time, and where they are from."""
    starts, content = chunk_starts(len(mixture)), audio.sha256(mixture)
    padded = np.pad(mixture, (0, max(0, CHUNK - len(mixture))))
    for first in range(0, len(starts), batch_size):
        some = starts[first : first + batch_size]
        chunks = np.stack([padded[start : start + CHUNK] for start in some])  # [B, CHUNK]
        seeds = tuple(item_seed(seed, content, first + n) for n in range(len(some)))
        places = tuple(Place(name, start, len(mixture)) for start in some)
        yield places, Batch(torch.from_numpy(chunks).to(device), SAMPLE_RATE, seeds)


def _separate(separator: Separator, batch: Batch, places: Sequence[Place]) -> audio.Samples:
    """The stems ``[B, K, CHUNK]`` of a batch, of the right shape and finite."""
    with torch.inference_mode():
        stems = separator.separate(batch).float().cpu().numpy()
    expected = (len(places), len(STEMS), CHUNK)
    if stems.shape != expected:
        raise ValueError(f"gave stems of shape {stems.shape} where [B, K, T] is {expected}")
    for place, estimate in zip(places, stems, strict=True):
        audio.require_finite(estimate, batch.rate, f"stems of the chunk at {place.start / batch.rate:.1f} s")
    return stems


def _lay(stems: audio.Samples, estimate: audio.Samples, start: int, covered: int) -> None:
    """Put a chunk's ``estimate`` ``[K, CHUNK]`` into ``stems`` ``[K, T]``, which are filled up to ``covered``.

    The fade is in the middle of the overlap: estimates are worst at the ends of a chunk.
    """
    end = start
    if covered:
        end = (start + covered + OVERLAP) // 2
        faded = stems[:, end - OVERLAP : end]
        faded += RAMP * (estimate[:, end - OVERLAP - start : end - start] - faded)
    stems[:, end : start + CHUNK] = estimate[:, end - start :]


def _frames(frames: int, rate: int) -> int:
    """How many samples at 22 050 Hz cover ``frames`` at ``rate`` Hz."""
    return -(-frames * SAMPLE_RATE // rate)


def _at_rate(samples: audio.Samples, rate: int, target: int, frames: int) -> audio.Samples:
    """``[channels, samples]`` from ``rate`` to ``target`` Hz, made ``frames`` long, as soxr may be a few samples off.

    One channel after the other, as resampling takes several times the memory of its input.
    """
    result = np.zeros((len(samples), frames), dtype=np.float32)
    for k, channel in enumerate(samples):
        resampled = audio.resample(channel[None], rate, target)[0, :frames]
        result[k, : len(resampled)] = resampled
    return result
