"""The offline embedder: what it hears, what it does not, and that it says all of it in its signature."""

from dataclasses import fields, replace

import numpy as np
import pytest

from benchmarks.metrics.embedders import LogMel
from gmsdi import SAMPLE_RATE
from gmsdi.errors import BadInputError

RATE = 16_000
TIME = np.arange(3 * RATE) / RATE


def tone(frequency: float, level: float = 0.1) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * TIME)).astype(np.float32)


def test_a_steady_tone_is_one_band_that_does_not_vary() -> None:
    found = LogMel().embed(tone(1000), RATE).numpy()
    assert found.shape == (5, 128)  # of 3 s, 0.96 s each, every 0.48 s
    levels, spread = found[:, :64], found[:, 64:]
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 125 / 700), 2595 * np.log10(1 + 7500 / 700), 66) / 2595) - 1)
    nearest = int(np.argmin(np.abs(edges[1:-1] - 1000)))
    assert set(levels.argmax(axis=1)) == {nearest}
    assert spread[:, nearest].max() < 0.02
    np.testing.assert_allclose(levels[0], levels[-1], atol=0.02)


def test_silence_is_the_logarithm_of_the_offset() -> None:
    found = LogMel().embed(np.zeros(2 * RATE, dtype=np.float32), RATE).numpy()
    np.testing.assert_allclose(found[:, :64], np.log(0.01), rtol=1e-12)
    np.testing.assert_allclose(found[:, 64:], 0, atol=1e-12)


def test_ten_times_louder_is_ln_ten_more() -> None:
    soft, loud = (LogMel(offset=1e-9).embed(tone(1000, level), RATE).numpy() for level in (0.01, 0.1))
    band = soft[0, :64].argmax()
    assert loud[0, band] - soft[0, band] == pytest.approx(np.log(10), abs=1e-3)


def test_the_rate_of_the_audio_does_not_matter() -> None:
    seconds = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    other = (0.1 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32)
    band = LogMel().embed(tone(1000), RATE).numpy()[1]
    np.testing.assert_allclose(LogMel().embed(other, SAMPLE_RATE).numpy()[1], band, atol=0.05)


def test_a_piece_does_not_depend_on_what_follows() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    whole, part = LogMel().embed(noise, RATE).numpy(), LogMel().embed(noise[: 3 * RATE], RATE).numpy()
    # float64; sums of 257 bins and of 96 frames, in another order: (257 + 96 · 5) ε, for the levels are above log 0.01 = -4.6
    np.testing.assert_allclose(whole[: len(part) - 1], part[:-1], rtol=0, atol=1e-12)


def test_every_parameter_is_in_the_signature() -> None:
    for field in fields(LogMel):
        other = replace(LogMel(), **{field.name: getattr(LogMel(), field.name) * 2})
        assert other.signature != LogMel().signature, field.name


def test_audio_that_is_too_short_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"0\.50 s is too short for logmel, which needs 0\.98 s"):
        LogMel().embed(np.zeros(RATE // 2, dtype=np.float32), RATE)
    with pytest.raises(BadInputError, match="too short"):
        LogMel().embed(np.zeros(10, dtype=np.float32), RATE)
