"""Demucs + Gibbs: a separation that is made better source by source, each time from the mixture and the others' estimates.

Source: Manilow et al., "Improving Source Separation by Explicitly Modeling Dependencies between Sources" (ICASSP 2022): block Gibbs
sampling with an orderless NADE, up to 512 steps. How a step's sources are chosen is not published. ``Annealed`` is our choice, with a
precedent in Coconet (Huang et al., "Counterpoint by Convolution", ISMIR 2017, after Yao et al. 2014).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baselines.demucs import ConditionalDemucs, DemucsSeparator
from gmsdi import STEMS
from gmsdi.errors import BadInputError
from gmsdi.sampler import Streams
from gmsdi.system import Batch

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Sources ``[B, K, T]`` from mixtures ``[B, T]``, sources ``[B, K, T]``, and which of them to go by ``[B, K]``."""


@dataclass(frozen=True)
class Annealed:
    """The probability that a source is estimated anew: from ``highest`` down to ``lowest`` over the first ``share`` of the steps."""

    highest: float = 0.9
    lowest: float = 0.1
    share: float = 0.7

    def __post_init__(self) -> None:
        if not (0 <= self.lowest <= self.highest <= 1 and 0 < self.share <= 1):
            raise BadInputError(f"{self}: probabilities from lowest to highest, over a share of the steps")

    def __call__(self, step: int, steps: int) -> float:
        return max(self.lowest, self.highest - (self.highest - self.lowest) * step / (self.share * steps))


@dataclass(frozen=True)
class Gibbs:
    """How to sample. ``block`` is how many sources are estimated at once; None draws each by ``probability``, at least one.

    ``noise``, a share of the mixture's level, times the ``probability``, is added to the sources that an estimate goes by. It covers
    their errors: in training the sources that were given had none.
    """

    steps: int
    block: int | None = None
    probability: Annealed = Annealed()
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.noise < 0 or (self.block is not None and not 1 <= self.block < len(STEMS)):
            raise BadInputError(f"{self}: steps and noise must not be negative, and a block is a part of the sources")

    def sample(self, estimate: Estimator, mixtures: Tensor, start: Tensor, streams: Streams) -> Tensor:
        """The sources ``[B, K, T]`` of ``mixtures`` ``[B, T]`` after ``steps`` steps from ``start`` ``[B, K, T]``."""
        sources = start
        for step in range(self.steps):
            probability = self.probability(step, self.steps)
            renewed = self.choose(streams.uniform(sources[:, :, 0]), probability)  # [B, K]
            given = sources
            if self.noise:
                level = mixtures.square().mean(dim=-1).sqrt()[:, None, None]
                given = sources + self.noise * probability * level * streams.noise(sources)
            sources = torch.where(renewed[:, :, None], estimate(mixtures, given, ~renewed), sources)
        return sources

    def choose(self, draws: Tensor, probability: float) -> Tensor:
        """Which sources are estimated anew ``[B, K]``, from numbers ``draws`` ``[B, K]`` between 0 and 1."""
        if self.block is None:
            return (draws < probability) | (draws == draws.amin(dim=1, keepdim=True))
        return draws.argsort(dim=1).argsort(dim=1) < self.block


class DemucsGibbs(DemucsSeparator):
    """Gibbs sampling from the estimate of plain Demucs on, with the same trained model at ``checkpoint``."""

    def __init__(self, checkpoint: Path | str, gibbs: Gibbs, bf16: bool = False) -> None:
        super().__init__(checkpoint, bf16)
        self.gibbs = gibbs

    def estimate(self, model: ConditionalDemucs, batch: Batch) -> Tensor:
        return self.gibbs.sample(model, batch.mixtures, super().estimate(model, batch), Streams(batch.seeds))
