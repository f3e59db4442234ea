"""Songs in chunks: whole again at any length and rate, without clicks, whatever the batches."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.bounds import Mixture
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError
from gmsdi.song import CHUNK, OVERLAP, chunk_starts, count_chunks, separate_song
from gmsdi.system import Batch, Separator

LONG = round(3.7 * CHUNK)  # five chunks
Noise = Callable[..., audio.Samples]


class Shares(Separator):
    """Each stem is its share of the mixture; the shares are powers of two, so that nothing is rounded."""

    shares = torch.tensor([0.5, 0.25, 0.125, 0.125])

    def separate(self, batch: Batch) -> torch.Tensor:
        return self.shares[:, None] * batch.mixtures[:, None]


class Gain(Separator):
    """Each stem is the mixture times the gain of its chunk, by the chunk's start."""

    reads_places = True

    def __init__(self, gains: dict[int, float]) -> None:
        self.gains = gains

    def separate(self, batch: Batch) -> torch.Tensor:
        gains = torch.tensor([self.gains[start] for start in batch.starts])
        return (gains[:, None, None] * batch.mixtures[:, None]).repeat(1, len(STEMS), 1)


class Seeded(Separator):
    """Noise of the item's own seed, and a record of the batches."""

    reads_places = True

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def separate(self, batch: Batch) -> torch.Tensor:
        self.batches.append(batch)
        items = [np.random.default_rng(seed).standard_normal((len(STEMS), CHUNK), np.float32) for seed in batch.seeds]
        return torch.from_numpy(np.stack(items))


class Constant(Separator):
    """Whatever it is told to answer."""

    def __init__(self, answer: torch.Tensor) -> None:
        self.answer = answer

    def separate(self, batch: Batch) -> torch.Tensor:
        return self.answer


def tones(frames: int, rate: int, channels: int = 1) -> audio.Samples:
    """Sines that every rate here can hold, others in each channel; together they fade in and out."""
    seconds = np.arange(frames) / rate
    frequencies = np.linspace(100, min(8000, 0.4 * rate), 7 * channels).reshape(channels, 7, 1)
    waves = 0.1 * np.sin(2 * np.pi * frequencies * seconds).sum(axis=1)
    return (waves * np.hanning(frames)).astype(np.float32)


# Where the chunks are


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (1, [0]),
        (CHUNK - 1, [0]),
        (CHUNK, [0]),
        (CHUNK + 1, [0, 1]),
        (2 * CHUNK - OVERLAP, [0, CHUNK - OVERLAP]),
        (2 * CHUNK - OVERLAP + 1, [0, (CHUNK - OVERLAP) // 2, CHUNK - OVERLAP + 1]),
    ],
)
def test_there_are_as_few_chunks_as_can_be(frames: int, starts: list[int]) -> None:
    assert chunk_starts(frames) == starts


@given(st.integers(1, 200 * CHUNK))
def test_chunks_cover_the_song_and_no_two_fades_meet(frames: int) -> None:
    starts = np.array(chunk_starts(frames))
    assert starts[0] == 0
    assert starts[-1] + CHUNK == max(frames, CHUNK)
    hops = np.diff(starts)
    assert (hops <= CHUNK - OVERLAP).all()
    assert (hops >= OVERLAP).all() or len(hops) == 1
    assert frames <= CHUNK or (len(starts) - 1) * (CHUNK - OVERLAP) + OVERLAP < frames


# Whole again


@pytest.mark.parametrize("frames", [1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, LONG])
def test_shares_of_the_mixture_come_back_to_the_last_bit(frames: int) -> None:
    song = np.random.default_rng(frames).standard_normal((1, frames), np.float32)
    stems = separate_song(Shares(), song, SAMPLE_RATE, batch_size=3)
    assert (stems.shape, stems.dtype) == ((len(STEMS), frames), np.float32)
    np.testing.assert_array_equal(stems, Shares.shares[:, None].numpy() * song)


def test_the_weights_of_the_chunks_add_up_to_one_everywhere() -> None:
    starts = chunk_starts(LONG)
    ones = np.ones((1, LONG), dtype=np.float32)
    weights = np.stack(
        [separate_song(Gain({other: other == start for other in starts}), ones, SAMPLE_RATE)[0] for start in starts]
    )
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=0, atol=1e-6)
    for start, weight in zip(starts, weights, strict=True):
        used = np.flatnonzero(weight)
        assert start <= used[0] and used[-1] < start + CHUNK
        assert (weight == 1).sum() > CHUNK / 4
    halves = [np.flatnonzero(weight > 0.5)[[0, -1]] - start for start, weight in zip(starts, weights, strict=True)]
    for (_, last), (first, _) in pairwise(halves):
        assert first == pytest.approx(CHUNK - 1 - last, abs=1)  # neighbours meet halfway between their ends


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 192_000])
def test_stems_lie_under_the_song_at_its_own_rate(rate: int) -> None:
    song = tones(2 * rate + 1, rate, channels=3)
    stems = separate_song(Shares(), song, rate)
    assert stems.shape == (len(STEMS), song.shape[1])
    np.testing.assert_allclose(stems.sum(axis=0), song.mean(axis=0), rtol=0, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3000), st.sampled_from([4_000, 11_025, 16_000, 22_051, 44_100, 48_000, 96_000, 384_000]))
def test_stems_are_as_long_as_the_song(frames: int, rate: int) -> None:
    stems = separate_song(Mixture(), np.zeros((2, frames), dtype=np.float32), rate)
    np.testing.assert_array_equal(stems, np.zeros((len(STEMS), frames)))


# No clicks


@pytest.mark.parametrize("frequency", [0, 55])
def test_chunks_that_differ_in_level_fade_into_each_other(frequency: float) -> None:
    """Nowhere steeper than the loudest wave and, on top of it, half a cosine between the levels furthest apart."""
    gains = dict(zip(chunk_starts(LONG), np.random.default_rng(0).uniform(0.9, 1.1, 5), strict=True))
    wave = np.cos(2 * np.pi * frequency * np.arange(LONG) / SAMPLE_RATE).astype(np.float32)[None]
    stems = separate_song(Gain(gains), wave, SAMPLE_RATE)
    allowed = 1.1 * np.abs(np.diff(wave)).max() + 0.2 * np.pi / 2 / OVERLAP
    assert np.abs(np.diff(stems)).max() <= allowed + 2e-7


# Seeds and batches


def test_the_batches_make_no_difference(noise: Noise) -> None:
    song = noise(0, LONG)
    one, three, all_at_once = (
        separate_song(Seeded(), song, SAMPLE_RATE, batch_size=batch_size) for batch_size in (1, 3, 64)
    )
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(one, all_at_once)


def test_each_chunk_of_each_song_has_noise_of_its_own(noise: Noise) -> None:
    def seeds(song: audio.Samples, seed: int, name: str = "song") -> tuple[int, ...]:
        separator = Seeded()
        separate_song(separator, song, SAMPLE_RATE, seed=seed, name=name)
        return separator.batches[0].seeds

    song, other = noise(0, LONG), noise(0, LONG)
    other[0, -1] += 1e-3
    assert seeds(song, 0) == seeds(song, 0, name="renamed")
    assert len({*seeds(song, 0), *seeds(song, 1), *seeds(other, 0)}) == 15


def test_a_separator_is_told_where_in_the_song_it_is(noise: Noise) -> None:
    separator, advanced = Seeded(), []
    song = np.repeat(noise(0, LONG), 2, axis=0)
    separate_song(separator, song, SAMPLE_RATE, name="tune", batch_size=2, advance=advanced.append)
    assert advanced == [2, 2, 1] and sum(advanced) == count_chunks(LONG, SAMPLE_RATE)
    starts = chunk_starts(LONG)
    assert [batch.starts for batch in separator.batches] == [tuple(starts[:2]), tuple(starts[2:4]), tuple(starts[4:])]
    for batch in separator.batches:
        items = len(batch.starts)
        assert (batch.tracks, batch.frames, batch.rate) == (("tune",) * items, (LONG,) * items, SAMPLE_RATE)
        assert batch.references is None
        for start, mixture in zip(batch.starts, batch.mixtures, strict=True):
            np.testing.assert_array_equal(mixture, song[0, start : start + CHUNK])


def test_the_length_that_a_separator_is_told_is_without_the_silence_appended() -> None:
    separator = Seeded()
    for frames, rate in ((1000, SAMPLE_RATE), (1, 192_000), (48_001, 48_000)):
        separate_song(separator, np.zeros((1, frames), np.float32), rate)
    assert [batch.frames for batch in separator.batches] == [(1000,), (1,), (SAMPLE_RATE + 1,)]


@pytest.mark.parametrize(
    ("frames", "rate"), [(1, 192_000), (CHUNK + 1, 22_050), (1_000_000, 48_000), (1_000_001, 44_100)]
)
def test_the_chunks_are_known_beforehand(frames: int, rate: int) -> None:
    advanced: list[int] = []
    separate_song(Mixture(), np.zeros((1, frames), np.float32), rate, batch_size=1, advance=advanced.append)
    assert sum(advanced) == count_chunks(frames, rate)


# Separators that go wrong


def test_stems_that_are_not_finite_are_refused(noise: Noise) -> None:
    answer = torch.zeros(1, len(STEMS), CHUNK)
    answer[0, 2, SAMPLE_RATE] = torch.nan
    with pytest.raises(BadInputError, match=r"chunk at 0\.0 s: NaN .* at 1\.000 s"):
        separate_song(Constant(answer), noise(0), SAMPLE_RATE)


def test_stems_of_another_shape_are_a_defect(noise: Noise) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 262144\)"):
        separate_song(Constant(torch.zeros(1, 3, CHUNK)), noise(0), SAMPLE_RATE)
