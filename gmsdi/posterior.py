"""What couples the sources of a mixture y = Σ_k x_k while they are sampled: the drift dx/dσ of the probability flow, given y.

With s_k = (x_k − D_k(x_k, σ)) / σ, which is −σ times the score of source k, all of them are a function of the sources' own drifts s and
of what the mixture lacks.
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
    def drift(self, x: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The state (which a constraint may have changed) and its drift dx/dσ at ``sigma``, ``[B, K, T]`` each."""

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

    def drift(self, x: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.clone()
        others = x.sum(dim=1) - x[:, self.constrained]
        x[:, self.constrained] = self.mixture - others
        own = self._own(x, sigma)
        return x, own - own[:, self.constrained, None]


@dataclass(frozen=True)
class Gaussian(Posterior):
    """MSDM's Gaussian likelihood N(y; Σ_k x_k, γ(σ)²): d_k = s_k − σ / (2 γ²) (y − Σ_l x_l), γ = 0.75 σ in the paper.

    The factor 2 is that of MSDM's code.
    """

    gamma: Callable[[float], float] = lambda sigma: 0.75 * sigma

    def drift(self, x: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        lacking = self.mixture[:, None] - x.sum(dim=1, keepdim=True)  # [B, 1, T]
        return x, self._own(x, sigma) - sigma / (2 * self.gamma(sigma) ** 2) * lacking


@dataclass(frozen=True)
class Projected(Posterior):
    """The Dirac constraint on the *estimates*: x̂_k = D_k(x_k) + (y − Σ_l D_l) / K, and the drift leads there.

    Not in the paper. Derivation: approximate p(x_k(0) | x_k(σ)) by a Gaussian around D_k(x_k, σ) with a variance v(σ) that all sources
    share; conditioned on Σ_k x_k(0) = y, its mean is D_k + v / (K v) (y − Σ_l D_l), whatever v is (moment matching, as in Song et al.,
    "Pseudoinverse-Guided Diffusion Models", ICLR 2023). The estimates add up to the mixture at every step, so the result does, too.
    Unlike ``Dirac`` no source is special, and there is no stiff mode that asks for small steps.
    """

    def drift(self, x: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        estimates = self.denoise(x, sigma)
        lacking = self.mixture[:, None] - estimates.sum(dim=1, keepdim=True)  # [B, 1, T]
        return x, (x - estimates - lacking / x.shape[1]) / sigma
