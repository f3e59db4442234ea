"""The fast resampler against resampy itself, whose numbers it promises."""

import numpy as np
import pytest
import resampy

from benchmarks.metrics import kaiser_best


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 44_100, 48_000, 16_001])
@pytest.mark.parametrize("target", [16_000, 24_000, 32_000])
def test_it_is_resampy(rate: int, target: int) -> None:
    """To the rounding of float32, at both ends and for audio shorter than the filter too."""
    random = np.random.default_rng(rate + target)
    for frames in (100, 12_345, rate + 17):
        samples = random.uniform(-1, 1, frames).astype(np.float32)
        expected = samples if rate == target else resampy.resample(samples, rate, target)
        found = kaiser_best.resample(samples, rate, target)
        assert found.dtype == np.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)
