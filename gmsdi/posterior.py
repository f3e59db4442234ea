"""What couples the sources of a mixture y = Σ_k x_k while they are sampled: the drift dx/dσ of the probability flow, given y.

Each posterior makes its drift of the sources' own drifts, s_k = (x_k − D_k(x_k, σ)) / σ, which are −σ times their scores, and of what
the sources lack of the mixture.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gmsdi.denoiser import SourceDenoiser


@dataclass(frozen=True)
class Posterior(ABC):
    """p(x | y) of sources given their mixture, by the sources' denoiser."""

    denoise: SourceDenoiser
    mixture: torch.Tensor  # [B, T]

    @abstractmethod
    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The state (which a constraint may have changed) and its drift dx/dσ from ``sigma`` to ``below``, ``[B, K, T]`` each.

        For Euler's step it is the drift at ``sigma``, whatever ``below`` is. A posterior that solves a step exactly returns the mean
        drift on the way to ``below``.
        """

    def _own(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return (x - self.denoise(x, sigma)) / sigma


@dataclass(frozen=True)
class Dirac(Posterior):
    """MSDM's Dirac likelihood: one ``constrained`` source is what the others leave of the mixture, at every step.

    Mariani et al. (ICLR 2024), section 4.2: with x_c = y − Σ_{l≠c} x_l the drift of the free sources is s_k − s_c; the constrained one
    is overwritten before each evaluation and has none. The mixture is taken as it is at every σ, so even with exact scores the law
    is not quite p(x | y): two Gaussian sources of deviations a and b tend to y a / (a + b), not to y a² / (a² + b²).
    """

    constrained: int = 0

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = self._constrain(x)
        own = self._own(x, sigma)
        return x, own - own[:, self.constrained, None]

    def _constrain(self, x: torch.Tensor) -> torch.Tensor:
        others = x.sum(dim=1) - x[:, self.constrained]
        x = x.clone()
        x[:, self.constrained] = self.mixture - others
        return x


@dataclass(frozen=True)
class ExactDirac(Dirac):
    """``Dirac`` with the estimates D_k frozen for a step and the rest of its drift solved exactly: no step is too large.

    Not in the paper. With frozen D the drift of the free sources, (x_k − D_k − x_c + D_c) / σ with x_c = y − Σ_{l≠c} x_l, is linear,
    and zero at x̂_k = D_k + (y − Σ_l D_l) / K, the very estimates of ``Projected``. Let δ_k = x_k − x̂_k. On the way to σ' the mean of
    the K − 1 free δ_k shrinks by (σ'/σ)^K, and so does δ of the constrained source, −(K − 1) times that mean. What the free δ_k
    differ from their mean shrinks by σ'/σ. The first rate makes Euler's steps unstable unless K (1 − σ'/σ) < 2. In the first order
    of 1 − σ'/σ this is ``Dirac``.

    What stays is a fault of the constraint itself. The noise of all sources adds up to zero, so the constrained source carries the
    noise of all others, √(K − 1) σ, while its denoiser is told σ.
    """

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = self._constrain(x)
        sources, kept = x.shape[1], below / sigma
        deviation = x - add_up(self.denoise(x, sigma), self.mixture)  # [B, K, T], adds up to 0
        common = -deviation[:, self.constrained, None] / (sources - 1)  # [B, 1, T], the mean of the free ones
        arrived = kept * (deviation - common) + kept**sources * common
        arrived[:, self.constrained] = kept**sources * deviation[:, self.constrained]
        return x, (arrived - deviation) / (below - sigma)


@dataclass(frozen=True)
class Proportional:
    """A deviation γ(σ) = ``factor`` σ."""

    factor: float

    def __call__(self, sigma: float) -> float:
        return self.factor * sigma


@dataclass(frozen=True)
class Gaussian(Posterior):
    """MSDM's Gaussian likelihood N(y; Σ_k x_k, γ(σ)²): d_k = s_k − σ / (2 γ²) (y − Σ_l x_l), γ = 0.75 σ in the paper.

    The factor 2 is that of MSDM's code.
    """

    gamma: Callable[[float], float] = Proportional(0.75)

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        lacking = self.mixture[:, None] - x.sum(dim=1, keepdim=True)  # [B, 1, T]
        return x, self._own(x, sigma) - sigma / (2 * self.gamma(sigma) ** 2) * lacking


@dataclass(frozen=True)
class Projected(Posterior):
    """The Dirac constraint on the *estimates*: x̂_k = D_k(x_k) + (y − Σ_l D_l) / K, and the drift leads there.

    Not in the paper. Derivation: approximate p(x_k(0) | x_k(σ)) by a Gaussian around D_k(x_k, σ) with a variance v(σ) that all sources
    share; conditioned on Σ_k x_k(0) = y, its mean is D_k + v / (K v) (y − Σ_l D_l), whatever v is (moment matching, as in Song et al.,
    "Pseudoinverse-Guided Diffusion Models", ICLR 2023). So it is the posterior under p(y | x(0)) = δ(y − Σ_k x_k(0)), where ``Dirac``
    puts the mixture on the *noisy* sources, δ(y − Σ_k x_k(σ)): the same frozen estimates lead both to the same x̂ (``ExactDirac``).
    But here every source keeps noise of its own, of the level that its denoiser is told; no source is special; and no mode is stiff.
    The estimates add up to the mixture at every step, so the result does, too.

    ``Sampler.renoise``, the share of the noise that is fresh after a step, decides what is drawn: with 0 a sample; with 1 something
    close to the posterior's mean, in the fewest evaluations.
    """

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        return x, (x - add_up(self.denoise(x, sigma), self.mixture)) / sigma


def add_up(estimates: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """The estimates ``[B, K, T]`` nearest to the given ones that add up to ``mixture`` ``[B, T]``: each takes an equal share."""
    lacking = mixture[:, None] - estimates.sum(dim=1, keepdim=True)  # [B, 1, T]
    return estimates + lacking / estimates.shape[1]
