"""One integrator for all posteriors: Euler steps down the noise levels, with churn, resampling and renoising.

Sources: EDM (Karras et al. 2022), algorithm 2, first order; the resampling is MSDM's "correction" (after RePaint, Lugmayr et al. 2022).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from gmsdi.errors import BadInputError, GmsdiError
from gmsdi.posterior import Posterior
from gmsdi.threads import side_by_side

MOST_CHURN = math.sqrt(2) - 1
"""A step's noise level is raised by this fraction at most (EDM)."""


LOUDEST = 10.0
"""A source is sound while its RMS is at most this many times that of noise and mixture together, plus 1, which no estimate exceeds."""

logger = logging.getLogger(__name__)


class Diverged(GmsdiError):
    """The state is not finite any more, or louder than any sources could be. The message says at which noise level."""


class Streams:
    """A random stream for every item of a batch, so that an item's noise does not depend on what it is batched with.

    Drawn by NumPy on the CPU: the same seed gives the same noise on every device, and neighbouring seeds have nothing in common
    (torch's CPU generator keeps only 32 bits of a seed).
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [np.random.default_rng(seed) for seed in seeds]

    def noise(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal noise of the shape, on the device and in the precision of ``like`` ``[B, K, T]``."""
        dtype = np.float64 if like.dtype == torch.float64 else np.float32
        items = side_by_side(lambda stream: stream.standard_normal(like.shape[1:], dtype=dtype), self._generators)
        return torch.from_numpy(np.stack(items)).to(like)

    def uniform(self, like: torch.Tensor) -> torch.Tensor:
        """Numbers from [0, 1) of the shape, on the device and in the precision of ``like`` ``[B, …]``."""
        items = [generator.random(like.shape[1:], dtype=np.float32) for generator in self._generators]
        return torch.from_numpy(np.stack(items)).to(like)


@dataclass(frozen=True)
class Sampler:
    """How to walk down: ``churn`` is EDM's S_churn, ``resamples`` how often each step is taken (MSDM: 2).

    ``renoise`` is the share of the noise that is fresh after each step, from 0 (Euler: the law is kept as steps grow) to 1 (the clean
    estimate plus new noise). A share above 0 forgets the errors made so far, but also the spread of p(x(0) | x(σ)) around its mean:
    for x(0) ~ N(0, s²) a step from σ to σ' leaves the variance (s² + √(1 − share²) σ σ')² / (s² + σ²) + share² σ'², less than
    s² + σ'². So it leads towards the posterior's mean rather than to a sample of it, which SI-SDR rewards.
    """

    churn: float = 0.0
    resamples: int = 1
    renoise: float = 0.0

    def __post_init__(self) -> None:
        if not (self.churn >= 0 and self.resamples >= 1 and 0 <= self.renoise <= 1):
            raise BadInputError(f"{self}: churn must be at least 0, resamples at least 1, renoise from 0 to 1")

    def sample(self, posterior: Posterior, sigmas: torch.Tensor, start: torch.Tensor, streams: Streams) -> torch.Tensor:
        """A sample ``[B, K, T]`` of ``posterior``, from ``start`` ``[B, K, T]`` at ``sigmas[0]`` down to ``sigmas[-1]``, usually 0.

        With debug logging, the state is described after every step. Raises ``Diverged`` for a state that is not finite, and for
        one that is louder than any sources could be.
        """
        x = start
        levels = sigmas.tolist()
        gamma = min(self.churn / (len(levels) - 1), MOST_CHURN)
        for sigma, below in pairwise(levels):
            for again in reversed(range(self.resamples)):
                raised = sigma * (1 + gamma)
                x = _add(x, math.sqrt(raised**2 - sigma**2), streams)
                x, drift = posterior.drift(x, raised, below)
                x = self._step(x, drift, raised, below, streams)
                if again:
                    x = _add(x, math.sqrt(sigma**2 - below**2), streams)
            _require_sound(x, posterior.mixture, sigma, below)
        return x

    def _step(self, x: torch.Tensor, drift: torch.Tensor, sigma: float, below: float, streams: Streams) -> torch.Tensor:
        """From ``sigma`` to ``below``: x = x̂ + below · (direction), where x̂ = x − σ · drift is the clean estimate."""
        kept = math.sqrt(1 - self.renoise**2)
        return _add(x + drift * (kept * below - sigma), self.renoise * below, streams)


def _add(x: torch.Tensor, deviation: float, streams: Streams) -> torch.Tensor:
    """Noise of a deviation on top of ``x``; none is drawn for none."""
    return x + deviation * streams.noise(x) if deviation > 0 else x


def _require_sound(x: torch.Tensor, mixture: torch.Tensor, sigma: float, below: float) -> None:
    """Raise ``Diverged`` unless each source of each item ``[B, K, T]`` is finite and no louder than sources can be."""
    rms = x.square().mean(dim=2).sqrt()  # [B, K]
    allowed = LOUDEST * (below + mixture.square().mean(dim=1, keepdim=True).sqrt()) + 1  # [B, 1]
    if logger.isEnabledFor(logging.DEBUG):
        lost = x.numel() - int(torch.isfinite(x).sum())
        levels = ", ".join(f"{level:.3g}" for level in rms.square().mean(dim=0).sqrt().tolist())
        logger.debug("sigma %.4g: RMS of the sources %s; %d values not finite", sigma, levels, lost)
    if not (rms <= allowed).all():  # NaN is not, either
        raise Diverged(f"the sampler diverged at sigma {sigma:.4g}; take more steps, less churn or less guidance")
