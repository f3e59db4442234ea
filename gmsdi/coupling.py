"""What couples sources while they are generated: equation (2) of GMSDI, the same on estimates, MSDM's imputation, or nothing.

Source: Postolache et al., "Generalized Multi-Source Inference for Text Conditioned Music Diffusion Models" (ICASSP 2024), equation (2).
How strong the coupling is, γ, is not published.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gmsdi.errors import BadInputError
from gmsdi.posterior import Posterior

Strength = Callable[[float], float]
"""γ(σ), the variance by which a mixture may differ from the sum of its sources."""


@dataclass(frozen=True)
class Constant:
    """γ(σ) = ``value``; ``inf`` is no coupling."""

    value: float

    def __post_init__(self) -> None:
        _require_positive("a constant γ", self.value)

    def __call__(self, sigma: float) -> float:
        return self.value


@dataclass(frozen=True)
class ProportionalVariance:
    """γ(σ) = ``factor`` σ²: as strong at every level as the noise lets it be."""

    factor: float

    def __post_init__(self) -> None:
        _require_positive("γ / σ²", self.factor)

    def __call__(self, sigma: float) -> float:
        return self.factor * sigma**2


@dataclass(frozen=True)
class Coupling(Posterior):
    """K sources and their mixture at once, ``[B, K + 1, T]`` with the mixture last, each with a denoiser (a prompt) of its own.

    The mixture that is sampled holds the K sources and the stems that are given. ``mixture`` is the clean sum g ``[B, T]`` of the given
    stems alone, zeros when everything is to be generated. ``given_noise`` ``[B, T]`` is the sum of their noises at σ = 1; it is the
    same at every level, as on one path of the probability flow.
    """

    given_noise: torch.Tensor


@dataclass(frozen=True)
class Coupled(Coupling):
    """Equation (2). With S = (D − x) / σ² it has the scores

        of x_k:  S(x_k, z_k, σ) + (y − g(σ) − Σ_l x_l) / γ_x
        of y  :  S(y, z_1 ⊗ … ⊗ z_K, σ) + (g(σ) + Σ_l x_l − y) / γ_y

    where g(σ) is what is given, perturbed to σ, and the drift dx/dσ is −σ times a score. With infinite γ nothing couples: K + 1
    independent samples.
    """

    gamma_sources: Strength
    gamma_mixture: Strength

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        given = self.mixture + sigma * self.given_noise  # [B, T]
        lacking = x[:, -1] - given - x[:, :-1].sum(dim=1)  # [B, T], what the mixture has more than its sources
        pull = x.new_empty(x.shape)
        pull[:, :-1] = lacking[:, None] / self.gamma_sources(sigma)
        pull[:, -1] = -lacking / self.gamma_mixture(sigma)
        return x, self._own(x, sigma) - sigma * pull


@dataclass(frozen=True)
class CoupledEstimates(Coupling):
    """The mixture is y = g + Σ_k x_k on the *estimates*, as in ``gmsdi.posterior.Projected``, and the drift leads to those.

    Not in the paper. Let the estimates D_k of the sources have a variance v, and D_y of the mixture ρ v. Conditioned on the sum, the
    means move by what is lacking, r = D_y − g − Σ_l D_l: each source by r / (K + ρ), the mixture by −ρ r / (K + ρ). There is no noise
    in r, so these estimates and what is given add up at every step, and what is given needs no noise either.

    ρ = 1 + (σ / ``trusted``)²: far above ``trusted`` the mixture follows its sources, far below they are equals. It is there for a
    fault that all ties between independent models have, equation (2), too. Take Gaussians of deviation a for x and b for y, tied by
    y = g + x: then x has the mean −g a² / (a² + b²), so it takes away from what is given. A network of mixtures does no better while
    noise hides from it what is given, and a stem that begins as −g stays so.
    """

    trusted: float

    def __post_init__(self) -> None:
        _require_positive("trusted", self.trusted)

    def drift(self, x: torch.Tensor, sigma: float, below: float) -> tuple[torch.Tensor, torch.Tensor]:
        estimates = self.denoise(x, sigma)
        sources, mixture = estimates[:, :-1], estimates[:, -1]
        yielding = 1 + (sigma / self.trusted) ** 2  # ρ
        share = (mixture - self.mixture - sources.sum(dim=1)) / (sources.shape[1] + yielding)  # [B, T]
        together = torch.cat([sources + share[:, None], (mixture - yielding * share)[:, None]], dim=1)
        return x, (x - together) / sigma


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


def _require_positive(what: str, value: float) -> None:
    if not value > 0:
        raise BadInputError(f"{what} is {value}; it must be above 0")
