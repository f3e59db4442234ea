"""A network as a denoiser: EDM preconditioning, the training loss, and guidance by a negative prompt.

Source: Karras et al. (EDM, NeurIPS 2022), section 5, with what MSDM's code adds: the estimate is clamped to [−1, 1]. Guidance: Ho and
Salimans, "Classifier-Free Diffusion Guidance" (2021), with a prompt for what must *not* be there in the place of no prompt.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

SourceDenoiser = Callable[[torch.Tensor, float], torch.Tensor]
"""D(x, σ): the clean estimate of noisy sources, ``[B, K, T]`` to ``[B, K, T]``. All that a sampler knows of a model."""


class Denoiser(nn.Module):
    """D(x, σ) = clamp(c_skip x + c_out F(c_in x, c_noise)) around a network F of ``(x [B, C, T], c_noise [B], **condition)``."""

    def __init__(self, network: nn.Module, sigma_data: float = 0.2) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    @property
    def null(self) -> torch.Tensor | None:
        """The embedding ``[L, F]`` of no prompt that the network has learned; None where it has none of its own."""
        learned: torch.Tensor | None = getattr(self.network, "null", None)
        return learned

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, **condition: Any) -> torch.Tensor:
        """The clean estimate ``[B, C, T]`` of ``x`` ``[B, C, T]`` at levels ``sigma`` ``[B]``.

        Where the network is asked with P prompts for each of ``x``, all P estimates of one after the other's: ``[B · P, C, T]``.
        """
        level = sigma.to(x.dtype)[:, None, None]  # [B, 1, 1]
        total = (level**2 + self.sigma_data**2).sqrt()
        skip = self.sigma_data**2 / total**2
        out = level * self.sigma_data / total
        answers = self.network(x / total, sigma.to(x.dtype).log() / 4, **condition)  # [B · P, C, T]
        answers = answers.unflatten(0, (len(x), -1))  # [B, P, C, T]
        return torch.addcmul((skip * x)[:, None], out[:, None], answers).clamp(-1, 1).flatten(0, 1)

    def loss(self, clean: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, **condition: Any) -> torch.Tensor:
        """The weighted squared error of each item, ``[B]`` (EDM, equation 2 with λ(σ) = (σ² + σ_data²) / (σ σ_data)²)."""
        estimate = self(clean + sigma[:, None, None] * noise, sigma, **condition)
        weight = (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
        return weight * (estimate - clean).square().mean(dim=(1, 2))


def joint(denoiser: Denoiser) -> SourceDenoiser:
    """MSDM: one network over all K sources as its channels."""
    return lambda x, sigma: denoiser(x, x.new_full((len(x),), sigma))


def independent(denoisers: list[Denoiser]) -> SourceDenoiser:
    """Weakly Supervised MSDM: one network a source."""

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        level = x.new_full((len(x),), sigma)
        return torch.cat([one(x[:, k : k + 1], level) for k, one in enumerate(denoisers)], dim=1)

    return denoise


def prompted(denoiser: Denoiser, positive: torch.Tensor, negative: torch.Tensor, guidance: float) -> SourceDenoiser:
    """GMSDI: one mixture network as K single-source denoisers, each by its prompt, away from its negative prompt.

    ``positive`` and ``negative`` are the embeddings ``[K, L, F]`` of the sources' prompts and of what must not be in them; ``guidance``
    is w in D_neg + w (D_pos − D_neg). All 2K of them go through the network in one call.
    """
    embeddings = torch.stack([positive, negative], dim=1)  # [K, 2, L, F]

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        batch, sources, length = x.shape
        inputs = x.reshape(batch * sources, 1, length)
        condition = embeddings.repeat(batch, 1, 1, 1).flatten(0, 1)  # [B · K · 2, L, F]
        estimates = denoiser(inputs, inputs.new_full((len(inputs),), sigma), embedding=condition)
        wanted, unwanted = estimates.view(batch, sources, 2, length).unbind(dim=2)  # [B, K, T] each
        return unwanted + guidance * (wanted - unwanted)

    return denoise
