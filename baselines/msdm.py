"""MSDM and Weakly Supervised MSDM (Mariani et al., "Multi-Source Diffusion Models", ICLR 2024): they need the stems in training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.coupling import Free, Imputed
from gmsdi.denoiser import SourceDenoiser, independent, joint
from gmsdi.generate import DiffusionGenerator
from gmsdi.model import load_denoiser
from gmsdi.sampler import Sampler, Streams
from gmsdi.separate import DiffusionSeparator, MakePosterior
from gmsdi.system import Batch, Request


class Joint:
    """What samples from one network of all stems at once, however many are asked for."""

    def load(self, checkpoint: Path | str) -> None:
        self.denoiser, _ = load_denoiser(checkpoint, kind="msdm", rate=SAMPLE_RATE, stems=STEMS)

    @classmethod
    def passes(cls, stems: int) -> int:
        return 1

    def denoise(self, device: torch.device | str) -> SourceDenoiser:
        """The denoiser of all ``STEMS``."""
        return joint(self.denoiser.to(device))


class Apart:
    """What samples from a network a stem, none of which has seen another stem than its own."""

    def load(self, checkpoint: Mapping[str, Path | str]) -> None:
        self.denoisers = {
            stem: load_denoiser(checkpoint[stem], kind="weak-msdm", rate=SAMPLE_RATE, stems=(stem,))[0]
            for stem in STEMS
        }

    @classmethod
    def passes(cls, stems: int) -> int:
        return stems

    def denoise(self, stems: Sequence[str], device: torch.device | str) -> SourceDenoiser:
        """The denoiser of ``stems``, in their order."""
        return independent([self.denoisers[stem].to(device) for stem in stems])


class MSDM(Joint, DiffusionSeparator):
    """One network of all stems at once, at ``checkpoint``."""

    def __init__(
        self,
        checkpoint: Path | str,
        posterior: MakePosterior,
        sigmas: torch.Tensor,
        sampler: Sampler,
        bf16: bool = False,
    ) -> None:
        super().__init__(posterior, sigmas, sampler, bf16)
        self.load(checkpoint)

    def separate(self, batch: Batch) -> torch.Tensor:
        denoise = self.denoise(batch.mixtures.device)
        return self.sample(denoise, batch.mixtures, len(STEMS), Streams(batch.seeds))


class WeakMSDM(Apart, DiffusionSeparator):
    """A network a stem, at ``checkpoint`` by the stem's name."""

    def __init__(
        self,
        checkpoint: Mapping[str, Path | str],
        posterior: MakePosterior,
        sigmas: torch.Tensor,
        sampler: Sampler,
        bf16: bool = False,
    ) -> None:
        super().__init__(posterior, sigmas, sampler, bf16)
        self.load(checkpoint)

    def separate(self, batch: Batch) -> torch.Tensor:
        denoise = self.denoise(STEMS, batch.mixtures.device)
        return self.sample(denoise, batch.mixtures, len(STEMS), Streams(batch.seeds))


class MSDMGenerator(Joint, DiffusionGenerator):
    """MSDM's own generation: all stems from the joint network, or by imputation those that are not given.

    Stems that are neither given nor asked for are generated, too, as the network knows of no fewer, and left out.
    """

    def __init__(self, checkpoint: Path | str, sigmas: torch.Tensor, sampler: Sampler, bf16: bool = False) -> None:
        super().__init__(sigmas, sampler, bf16)
        self.load(checkpoint)

    @torch.inference_mode()
    def generate(self, request: Request) -> torch.Tensor:
        streams = Streams(request.seeds)
        start = self.start(request, len(STEMS), streams)
        clean = torch.zeros_like(start)  # [B, K, T]
        for stem, samples in request.given.items():
            clean[:, STEMS.index(stem)] = samples
        known = torch.tensor([stem in request.given for stem in STEMS], device=start.device)
        imputed = Imputed(self.denoise(start.device), clean.sum(dim=1), clean, known, streams.noise)
        found = self.sample(imputed, start, streams)
        return found[:, [STEMS.index(stem) for stem in request.stems]]


class WeakMSDMGenerator(Apart, DiffusionGenerator):
    """Weakly Supervised MSDM's generation: each stem from its own network, which knows of no other stem."""

    def __init__(
        self, checkpoint: Mapping[str, Path | str], sigmas: torch.Tensor, sampler: Sampler, bf16: bool = False
    ) -> None:
        super().__init__(sigmas, sampler, bf16)
        self.load(checkpoint)

    @classmethod
    def lacks(cls, stems: Sequence[str], given: Sequence[str]) -> str:
        return "has no joint model: a stem's network knows nothing of stems that are given" if given else ""

    @torch.inference_mode()
    def generate(self, request: Request) -> torch.Tensor:
        streams = Streams(request.seeds)
        start = self.start(request, len(request.stems), streams)
        denoise = self.denoise(request.stems, request.device)
        return self.sample(Free(denoise, torch.zeros_like(start[:, 0])), start, streams)
