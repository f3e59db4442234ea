"""Noise levels against EDM's formulas."""

import math

import torch

from gmsdi.schedule import LogNormal, karras


def test_karras_is_edm_equation_5_with_a_final_zero() -> None:
    sigmas = karras(150, 1e-4, 1.0)
    expected = [(1 + i / 149 * (1e-4 ** (1 / 7) - 1)) ** 7 for i in range(150)]
    torch.testing.assert_close(sigmas[:-1], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    assert sigmas[-1] == 0
    assert len(sigmas) == 151


def test_log_normal_levels_have_the_median_and_spread_that_they_are_given() -> None:
    levels = LogNormal(mean=math.log(0.3), std=1.5).sample(200_000, torch.Generator().manual_seed(0)).log()
    assert abs(levels.mean().item() - math.log(0.3)) < 0.02
    assert abs(levels.std().item() - 1.5) < 0.02
