"""Separation by posterior sampling, and GMSDI's two ways of it: all stems at once, or one stem against the rest.

Source: Postolache et al., "Generalized Multi-Source Inference for Text Conditioned Music Diffusion Models" (ICASSP 2024). The guidance
scale, the negative prompts and the noise levels are not published: the ones in ``configs/`` are ours, chosen on validation data.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.denoiser import SourceDenoiser, prompted
from gmsdi.errors import BadInputError
from gmsdi.model import build_encoder, load_denoiser
from gmsdi.posterior import Posterior
from gmsdi.precision import reduced
from gmsdi.prompts import Prompt, encode, extraction, one_against_rest
from gmsdi.sampler import Sampler, Streams
from gmsdi.system import Batch, Separator
from gmsdi.trained import Trained

MakePosterior = Callable[[SourceDenoiser, torch.Tensor], Posterior]
"""A posterior of sources by their denoiser and the mixture ``[B, T]``: a class of ``gmsdi.posterior`` with its settings."""


class DiffusionSeparator(Trained, Separator):
    """A separator that walks trained denoisers down the noise levels ``sigmas`` ``[steps + 1]``, towards a posterior of the sources.

    With ``bf16`` the networks compute in bfloat16 where that is enough and the device has it, see ``gmsdi.precision``; the sampler
    itself stays in float32.
    """

    def __init__(self, posterior: MakePosterior, sigmas: torch.Tensor, sampler: Sampler, bf16: bool) -> None:
        self.posterior = posterior
        self.sigmas = sigmas
        self.sampler = sampler
        self.bf16 = bf16

    def sample(self, denoise: SourceDenoiser, mixtures: torch.Tensor, sources: int, streams: Streams) -> torch.Tensor:
        """A sample ``[B, sources, T]`` of the sources of ``mixtures`` ``[B, T]``."""
        noise = streams.noise(mixtures[:, None].expand(-1, sources, -1))
        start = float(self.sigmas[0]) * noise
        with reduced(mixtures.device, self.bf16):
            return self.sampler.sample(self.posterior(denoise, mixtures), self.sigmas, start, streams)


class GMSDI(DiffusionSeparator):
    """What both ways need: one network of mixtures at ``checkpoint``, asked for sources by prompts.

    ``prompts`` describe the stems, by their names. ``negatives`` are what must not be in them, by default the descriptions of all other
    stems; ``""`` is the null prompt, plain classifier-free guidance. ``guidance`` is w in D_neg + w (D_pos − D_neg).
    """

    def __init__(
        self,
        checkpoint: Path | str,
        guidance: float,
        posterior: MakePosterior,
        sigmas: torch.Tensor,
        sampler: Sampler,
        prompts: Mapping[str, str] | None = None,
        negatives: Mapping[str, str] | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__(posterior, sigmas, sampler, bf16)
        self.denoiser, manifest = load_denoiser(checkpoint, kind="gmsdi", rate=SAMPLE_RATE, stems=STEMS)
        self.encoder = build_encoder(manifest.config["text"])
        self.guidance = guidance
        descriptions = _of_stems(prompts or {stem: stem for stem in STEMS}, "prompts")
        self.prompts = self.ask(descriptions, None if negatives is None else _of_stems(negatives, "negatives"))

    @abstractmethod
    def ask(self, descriptions: Sequence[str], negatives: Sequence[str] | None) -> Any:
        """The prompts of what is sampled, from a description a stem."""

    def sources(self, prompts: Sequence[Prompt], mixtures: torch.Tensor, streams: Streams) -> torch.Tensor:
        """A sample ``[B, K, T]`` of the sources of K prompts that make up ``mixtures`` ``[B, T]``."""
        denoiser = self.denoiser.to(mixtures.device)
        positive, negative = (embedding.to(mixtures) for embedding in encode(prompts, self.encoder, denoiser.null))
        denoise = prompted(denoiser, positive, negative, self.guidance)
        return self.sample(denoise, mixtures, len(prompts), streams)


class PromptSeparator(GMSDI):
    """GMSDI Separator: a source a stem, all at once."""

    def ask(self, descriptions: Sequence[str], negatives: Sequence[str] | None) -> tuple[Prompt, ...]:
        return one_against_rest(descriptions, negatives)

    @classmethod
    def passes(cls, stems: int) -> int:
        return 2 * stems  # prompts and negatives

    def separate(self, batch: Batch) -> torch.Tensor:
        return self.sources(self.prompts, batch.mixtures, Streams(batch.seeds))


class PromptExtractor(GMSDI):
    """GMSDI Extractor: for each stem two sources, it and all the rest; the rest is thrown away."""

    def ask(self, descriptions: Sequence[str], negatives: Sequence[str] | None) -> tuple[tuple[Prompt, Prompt], ...]:
        return tuple(extraction(k, descriptions, negatives) for k in range(len(descriptions)))

    @classmethod
    def passes(cls, stems: int) -> int:
        return 4 * stems  # prompts and negatives of each stem and of its rest

    def separate(self, batch: Batch) -> torch.Tensor:
        streams = Streams(batch.seeds)
        targets = [self.sources(pair, batch.mixtures, streams)[:, 0] for pair in self.prompts]
        return torch.stack(targets, dim=1)


def _of_stems(texts: Mapping[str, str], what: str) -> list[str]:
    """One text a stem, in the order of ``STEMS``; ``BadInputError`` for other stems than those."""
    if set(texts) != set(STEMS):
        raise BadInputError(f"{what}: given for {', '.join(texts)}; each of {', '.join(STEMS)} needs its own")
    return [texts[stem] for stem in STEMS]
