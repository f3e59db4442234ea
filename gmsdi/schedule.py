"""Noise levels: the ones a sampler walks down, and the ones a denoiser is trained at.

Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (EDM, NeurIPS 2022).
"""

import math
from dataclasses import dataclass

import torch

from gmsdi.errors import BadInputError


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """``steps`` levels from ``sigma_max`` down to ``sigma_min`` and a final 0, so that there are ``steps`` steps. ``[steps + 1]``

    EDM, equation 5. In float64, because a sampler of hundreds of steps adds up their differences. Raises ``BadInputError`` unless
    there is at least one step and 0 < ``sigma_min`` ≤ ``sigma_max`` < ∞.
    """
    if not (steps >= 1 and 0 < sigma_min <= sigma_max < math.inf):
        raise BadInputError(
            f"sigmas: {steps} steps from {sigma_max} to {sigma_min}: one step at least, downwards, above 0"
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1, dtype=torch.float64)])


@dataclass(frozen=True)
class LogNormal:
    """Training levels, ln σ ~ N(mean, std²) (EDM, table 1; MSDM has mean −3, std 1)."""

    mean: float = -3.0
    std: float = 1.0

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """``count`` levels, ``[count]``, on the generator's device."""
        return (self.mean + self.std * torch.randn(count, generator=generator, device=generator.device)).exp()
