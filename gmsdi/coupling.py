"""What couples sources while they are generated: equation (2) of GMSDI, MSDM's imputation, or nothing.

Source: Postolache et al., "Generalized Multi-Source Inference for Text Conditioned Music Diffusion Models" (ICASSP 2024), equation (2).
How strong the coupling is, γ, is not published.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gmsdi.posterior import Posterior

Strength = Callable[[float], float]
"""γ(σ), the variance by which a mixture may differ from the sum of its sources."""


@dataclass(frozen=True)
class Constant:
    """γ(σ) = ``value``; ``inf`` is no coupling."""

    value: float

    def __call__(self, sigma: float) -> float:
        return self.value


@dataclass(frozen=True)
class ProportionalVariance:
    """γ(σ) = ``factor`` σ²: as strong at every level as the noise lets it be."""

    factor: float

    def __call__(self, sigma: float) -> float:
        return self.factor * sigma**2


@dataclass(frozen=True)
class Coupled(Posterior):
    """K sources and their mixture at once, ``[B, K + 1, T]`` with the mixture last, each with a denoiser (a prompt) of its own.

    With S = (D − x) / σ² equation (2) has the scores

        of x_k:  S(x_k, z_k, σ) + (y − g(σ) − Σ_l x_l) / γ_x
        of y  :  S(y, z_1 ⊗ … ⊗ z_K, σ) + (g(σ) + Σ_l x_l − y) / γ_y

    and the drift dx/dσ is −σ times a score. g(σ) is the sum of stems that are given, perturbed to σ: ``mixture`` is their clean sum
    ``[B, T]``, zeros when everything is to be generated, and ``given_noise`` ``[B, T]`` the sum of their noises at σ = 1, the same at
    every level, as on one path of the probability flow. With infinite γ nothing couples: K + 1 independent samples.
    """

    given_noise: torch.Tensor
    gamma_sources: Strength
    gamma_mixture: Strength

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        given = self.mixture + sigma * self.given_noise  # [B, T]
        lacking = x[:, -1] - given - x[:, :-1].sum(dim=1)  # [B, T], what the mixture has more than its sources
        pull = x.new_empty(x.shape)
        pull[:, :-1] = lacking[:, None] / self.gamma_sources(sigma)
        pull[:, -1] = -lacking / self.gamma_mixture(sigma)
        return x, self._own(x, sigma) - sigma * pull


class Free(Posterior):
    """Sources that nothing couples but their denoiser: one of all of them at once, or one each. ``mixture`` is not looked at."""

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        return x, self._own(x, sigma)


@dataclass(frozen=True)
class Imputed(Free):
    """MSDM's imputation: of the sources of one joint denoiser some are given, and put in their places at every evaluation.

    As in the code of Mariani et al. (ICLR 2024): what is ``known`` is re-noised to σ each time, by fresh ``noise``.
    """

    clean: torch.Tensor  # [B, K, T], read where known
    known: torch.Tensor  # [K] bool
    noise: Callable[[torch.Tensor], torch.Tensor]  # standard normal, of the shape of its argument

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        noised = self.clean + sigma * self.noise(self.clean)
        return super().drift(torch.where(self.known[:, None], noised, x), sigma, below)
