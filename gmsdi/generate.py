"""Music by GMSDI: stems and the mixture that they make, all of it or to go with stems that are given.

Source: Postolache et al., "Generalized Multi-Source Inference for Text Conditioned Music Diffusion Models" (ICASSP 2024), equation (2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.coupling import Coupled, Strength
from gmsdi.denoiser import prompted
from gmsdi.errors import BadInputError
from gmsdi.model import build_encoder, load_denoiser
from gmsdi.prompts import Prompt, encode, join, one_against_rest
from gmsdi.sampler import Sampler, Streams


@dataclass(frozen=True)
class Generated:
    """``stems`` ``[B, K, T]`` of the prompts, in their order, and the ``mixture`` ``[B, T]`` that was sampled beside them.

    The stems with those that were given add up to about the mixture, the nearer the stronger the coupling.
    """

    stems: Tensor
    mixture: Tensor


class Generator:
    """Samples stems by their prompts, together with their mixture, from one network of mixtures at ``checkpoint``.

    A stem's negative prompt is all other stems, given ones too; the mixture's prompt is all of them joined, against the null prompt.
    ``guidance`` is w in D_neg + w (D_pos − D_neg); ``gamma_sources`` and ``gamma_mixture`` are γ_x and γ_y; ``bf16`` as for separators.
    """

    def __init__(
        self,
        checkpoint: str,
        guidance: float,
        gamma_sources: Strength,
        gamma_mixture: Strength,
        sigmas: Tensor,
        sampler: Sampler,
        bf16: bool = False,
    ) -> None:
        self.denoiser, manifest = load_denoiser(checkpoint, kind="gmsdi", rate=SAMPLE_RATE, stems=STEMS)
        self.encoder = build_encoder(manifest.config["text"])
        self.guidance = guidance
        self.gamma_sources, self.gamma_mixture = gamma_sources, gamma_mixture
        self.sigmas = sigmas
        self.sampler = sampler
        self.bf16 = bf16

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], given: Mapping[str, Tensor], seeds: Sequence[int], length: int
    ) -> Generated:
        """One item a seed, of ``length`` samples. ``given`` are finished stems ``[T]`` or ``[B, T]`` by their descriptions.

        An item depends on its own seed alone. ``BadInputError`` when there is nothing to generate, or a description occurs twice.
        """
        descriptions = [*prompts, *given]
        if not prompts or len(set(descriptions)) < len(descriptions):
            raise BadInputError(
                f"cannot generate {list(prompts)} given {list(given)}: give each once, and at least one prompt"
            )
        device = self.sigmas.device
        asked = [*one_against_rest(descriptions)[: len(prompts)], Prompt(join(descriptions))]
        denoiser = self.denoiser.to(device)
        positive, negative = (each.to(device) for each in encode(asked, self.encoder, denoiser.null))
        streams = Streams(seeds)
        nothing = torch.zeros(len(seeds), length, device=device)
        start = float(self.sigmas[0]) * streams.noise(nothing[:, None].expand(-1, len(asked), -1))
        noises = streams.noise(nothing[:, None].expand(-1, len(given), -1)).sum(dim=1)  # zeros when nothing is given
        clean = sum((stem.to(nothing).expand_as(nothing) for stem in given.values()), nothing)
        coupled = Coupled(
            prompted(denoiser, positive, negative, self.guidance), clean, noises, self.gamma_sources, self.gamma_mixture
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            found = self.sampler.sample(coupled, self.sigmas, start, streams)  # [B, K + 1, T]
        return Generated(found[:, :-1], found[:, -1])
