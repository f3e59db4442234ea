"""Music by GMSDI: stems and the mixture that they make, all of it or to go with stems that are given; and single stems.

Source: Postolache et al., "Generalized Multi-Source Inference for Text Conditioned Music Diffusion Models" (ICASSP 2024), equation (2).
γ, the guidance scale and the noise levels are not published: the ones in ``configs/generation`` are ours.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.coupling import Coupling, Free
from gmsdi.denoiser import SourceDenoiser, prompted
from gmsdi.errors import BadInputError
from gmsdi.model import build_encoder, load_denoiser
from gmsdi.posterior import Posterior
from gmsdi.precision import reduced
from gmsdi.prompts import Prompt, encode, join, one_against_rest
from gmsdi.sampler import Sampler, Streams
from gmsdi.system import Generator, Request
from gmsdi.trained import Trained

MakeCoupling = Callable[[SourceDenoiser, Tensor, Tensor], Coupling]
"""A coupling by the denoiser of sources and mixture, the clean sum of what is given and its noise, ``[B, T]`` each."""


class DiffusionGenerator(Trained, Generator):
    """A generator that walks trained denoisers down the noise levels ``sigmas`` ``[steps + 1]``; ``bf16`` as for separators."""

    def __init__(self, sigmas: Tensor, sampler: Sampler, bf16: bool) -> None:
        self.sigmas = sigmas
        self.sampler = sampler
        self.bf16 = bf16

    def start(self, request: Request, sources: int, streams: Streams) -> Tensor:
        """Noise of the highest level, ``[B, sources, T]``."""
        nothing = torch.zeros(len(request.seeds), 1, request.length, device=request.device)
        return float(self.sigmas[0]) * streams.noise(nothing.expand(-1, sources, -1))

    def sample(self, posterior: Posterior, start: Tensor, streams: Streams) -> Tensor:
        """A sample ``[B, sources, T]`` of ``posterior``, from ``start`` of the same shape."""
        with reduced(start.device, self.bf16):
            return self.sampler.sample(posterior, self.sigmas, start, streams)


class Prompted(DiffusionGenerator):
    """What GMSDI's generators need: one network of mixtures at ``checkpoint``, asked for sources by prompts.

    ``guidance`` is w in D_neg + w (D_pos − D_neg). With ``negatives`` a stem's negative prompt is all other stems; without, it is the
    null prompt: plain classifier-free guidance.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        guidance: float,
        negatives: bool,
        sigmas: Tensor,
        sampler: Sampler,
        bf16: bool = False,
    ) -> None:
        super().__init__(sigmas, sampler, bf16)
        self.denoiser, manifest = load_denoiser(checkpoint, kind="gmsdi", rate=SAMPLE_RATE, stems=STEMS)
        self.encoder = build_encoder(manifest.config["text"])
        self.guidance = guidance
        self.negatives = negatives

    def against(self, descriptions: Sequence[str]) -> tuple[Prompt, ...]:
        """The prompts of the sources ``descriptions``."""
        return one_against_rest(descriptions, None if self.negatives else [""] * len(descriptions))

    def embeddings(self, prompts: Sequence[Prompt], device: str) -> tuple[Tensor, Tensor]:
        """The positive and the negative embeddings of prompts, ``[K, L, F]`` each."""
        positive, negative = encode(prompts, self.encoder, self.denoiser.null)
        return positive.to(device), negative.to(device)


class PromptGenerator(Prompted):
    """Stems by their prompts together with their mixture, whose prompt is all of them joined, against the null prompt.

    ``coupling`` is what links them, equation (2) or another. With ``negatives`` stems that are given are in the negative prompts, too.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        guidance: float,
        coupling: MakeCoupling,
        sigmas: Tensor,
        sampler: Sampler,
        negatives: bool = True,
        bf16: bool = False,
    ) -> None:
        super().__init__(checkpoint, guidance, negatives, sigmas, sampler, bf16)
        self.coupling = coupling

    @classmethod
    def passes(cls, stems: int) -> int:
        return 2 * (stems + 1)  # prompts and negatives, of the mixture too

    @torch.inference_mode()
    def generate(self, request: Request) -> Tensor:
        """``BadInputError`` when nothing is asked for, or a stem occurs twice."""
        _require_different(request)
        count, descriptions = len(request.stems), [*request.stems, *request.given]
        prompts = [*self.against(descriptions)[:count], Prompt(join(descriptions))]
        denoiser = self.denoiser.to(request.device)
        streams = Streams(request.seeds)
        start = self.start(request, len(prompts), streams)  # [B, J + 1, T]
        noises = streams.noise(start[:, :1].expand(-1, len(request.given), -1)).sum(dim=1)  # [B, T]
        clean = sum((stem.to(start) for stem in request.given.values()), torch.zeros_like(noises))
        denoise = prompted(denoiser, *self.embeddings(prompts, request.device), self.guidance)
        return self.sample(self.coupling(denoise, clean, noises), start, streams)[:, :-1]


class SourceGenerator(Prompted):
    """The network of mixtures as a model of single sources, S(x_k, z_k, σ): each stem by itself, to go with nothing."""

    @classmethod
    def lacks(cls, stems: Sequence[str], given: Sequence[str]) -> str:
        return "each stem is sampled by itself, with no regard to others" if given else ""

    @classmethod
    def passes(cls, stems: int) -> int:
        return 2 * stems

    @torch.inference_mode()
    def generate(self, request: Request) -> Tensor:
        """The negative prompt of a stem is all others of ``STEMS``, whether they are asked for or not."""
        of_stem = dict(zip(STEMS, self.against(STEMS), strict=True))
        prompts = [of_stem[stem] for stem in request.stems]
        denoise = prompted(self.denoiser.to(request.device), *self.embeddings(prompts, request.device), self.guidance)
        streams = Streams(request.seeds)
        start = self.start(request, len(prompts), streams)
        return self.sample(Free(denoise, torch.zeros_like(start[:, 0])), start, streams)


def _require_different(request: Request) -> None:
    descriptions = [*request.stems, *request.given]
    if not request.stems or len(set(descriptions)) < len(descriptions):
        raise BadInputError(
            f"cannot generate {list(request.stems)} given {list(request.given)}: give each once, and at least one prompt"
        )
