"""MSDM and Weakly Supervised MSDM (Mariani et al., "Multi-Source Diffusion Models", ICLR 2024): they need the stems in training."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.denoiser import independent, joint
from gmsdi.model import load_denoiser
from gmsdi.sampler import Sampler, Streams
from gmsdi.separate import DiffusionSeparator, MakePosterior
from gmsdi.system import Batch


class MSDM(DiffusionSeparator):
    """One network of all stems at once, at ``checkpoint``."""

    def __init__(
        self,
        checkpoint: str,
        posterior: MakePosterior,
        sigmas: torch.Tensor,
        sampler: Sampler,
        bf16: bool = False,
    ) -> None:
        super().__init__(posterior, sigmas, sampler, bf16)
        self.denoiser, _ = load_denoiser(checkpoint, kind="msdm", rate=SAMPLE_RATE, stems=STEMS)

    @classmethod
    def weights(cls, **arguments: Any) -> Iterable[Path]:
        return [Path(arguments["checkpoint"])]

    def separate(self, batch: Batch) -> torch.Tensor:
        denoiser = self.denoiser.to(batch.mixtures.device)
        return self.sample(joint(denoiser), batch.mixtures, len(STEMS), Streams(batch.seeds))


class WeakMSDM(DiffusionSeparator):
    """A network a stem, at ``checkpoint`` by the stem's name; none of them has seen another stem than its own."""

    def __init__(
        self,
        checkpoint: Mapping[str, str],
        posterior: MakePosterior,
        sigmas: torch.Tensor,
        sampler: Sampler,
        bf16: bool = False,
    ) -> None:
        super().__init__(posterior, sigmas, sampler, bf16)
        self.denoisers = [
            load_denoiser(checkpoint[stem], kind="weak-msdm", rate=SAMPLE_RATE, stems=(stem,))[0] for stem in STEMS
        ]

    @classmethod
    def weights(cls, **arguments: Any) -> Iterable[Path]:
        return [Path(path) for path in arguments["checkpoint"].values()]

    def separate(self, batch: Batch) -> torch.Tensor:
        denoisers = [denoiser.to(batch.mixtures.device) for denoiser in self.denoisers]
        return self.sample(independent(denoisers), batch.mixtures, len(STEMS), Streams(batch.seeds))
