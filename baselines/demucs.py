"""Demucs that is also told some of the sources: the supervised baseline, alone or inside Gibbs sampling (``baselines.gibbs``).

Sources: Défossez et al., "Music Source Separation in the Waveform Domain" (2019), as the ``demucs`` package has it; Manilow et al.,
"Improving Source Separation by Explicitly Modeling Dependencies between Sources" (ICASSP 2022), which trains it as an orderless NADE:
any subset of the sources may be given, and the rest is predicted. They published neither code nor weights, nor how often a source is
given: what ``Orderless`` draws is our choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from demucs.demucs import Demucs
from torch import Tensor, nn

from gmsdi import SAMPLE_RATE, STEMS, checkpoint
from gmsdi.errors import BadInputError, one_line
from gmsdi.objective import Batch, Objective, Row
from gmsdi.precision import reduced
from gmsdi.system import Batch as Excerpts
from gmsdi.system import Separator
from gmsdi.trained import Trained

KIND = "demucs"
"""What the manifests of its checkpoints call them."""

GROUP = 4
"""Songs that trade sources among them."""

QUIET = 1e-5
"""Added to a mixture's deviation before the mixture is divided by it, as in the package: silence has none."""


class ConditionalDemucs(nn.Module):
    """p(sources | mixture, some of the sources): the package's network, whose first layer reads the given sources and which they are.

    Its inputs are the mixture, ``K`` slots of sources (zeros where unknown) and a channel a slot that is 1 where it is known.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        # the mixture alone decides the level, whatever is given: so not the package's normalisation, which looks at all inputs
        self.network = Demucs(list(STEMS), audio_channels=1, normalize=False, samplerate=SAMPLE_RATE, **sizes)
        first = self.network.encoder[0][0]
        wider = nn.Conv1d(1 + 2 * len(STEMS), first.out_channels, first.kernel_size, first.stride)
        with torch.no_grad():  # what reads the mixture begins as plain Demucs' own, what reads the sources at its scale
            wider.weight[:, :1] = first.weight
            wider.weight[:, 1:] *= first.weight.std() / wider.weight[:, 1:].std()
        wider.bias = first.bias
        self.network.encoder[0][0] = wider

    def forward(self, mixtures: Tensor, sources: Tensor, given: Tensor) -> Tensor:
        """All sources ``[B, K, T]`` of ``mixtures`` ``[B, T]``; ``sources`` ``[B, K, T]`` holds those that are ``given`` ``[B, K]``.

        What it says of a source that is given means nothing.
        """
        mixtures = mixtures[:, None]  # [B, 1, T]
        mean, deviation = mixtures.mean(dim=-1, keepdim=True), mixtures.std(dim=-1, keepdim=True) + QUIET
        known = given[:, :, None].to(mixtures)  # [B, K, 1]
        inputs = [(mixtures - mean) / deviation, sources * known / deviation, known.expand_as(sources)]
        estimates: Tensor = self.network(torch.cat(inputs, dim=1))  # [B, K, 1, T]
        return estimates.squeeze(2).float() * deviation

    def alone(self, mixtures: Tensor) -> Tensor:
        """Plain Demucs: the sources ``[B, K, T]`` of ``mixtures`` ``[B, T]``, none of them given."""
        nothing = mixtures.new_zeros(len(mixtures), len(STEMS), mixtures.shape[-1])
        return self(mixtures, nothing, nothing[:, :, 0].bool())


@dataclass(frozen=True)
class Orderless(Objective):
    """The mean absolute error of the sources that are not given. Remixes and levels are those of the package's own training.

    With the probability ``alone`` no source is given beside the mixture; else 1 to K − 1 of them, each number equally likely, and each
    choice of so many. With the probability ``remix`` a group of four songs trades sources; such mixtures tell nothing of how the
    sources of a song depend on each other. Each source is turned upside down in half of the cases, and scaled by a factor from
    ``scale``.
    """

    alone: float = 0.5
    remix: float = 0.5
    scale: tuple[float, float] = (0.25, 1.25)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple(self.scale))  # also of a list
        if not (0 <= self.alone <= 1 and 0 <= self.remix <= 1 and 0 < self.scale[0] <= self.scale[1]):
            raise BadInputError(f"{self}: alone and remix are shares, and scale is a range above 0")

    def losses(self, model: nn.Module, batch: Batch, mine: slice, generator: torch.Generator) -> Tensor:
        sources = self.augment(batch.clean.to(generator.device), generator)
        given = self.given(len(sources), sources.shape[1], generator)
        return missing_error(model, sources[mine], given[mine])

    def augment(self, sources: Tensor, generator: torch.Generator) -> Tensor:
        """Other mixtures of the sources ``[B, K, T]``. ``BadInputError`` unless groups of four fill the batch."""
        items, stems, _ = sources.shape
        if items % GROUP:
            raise BadInputError(f"a batch of {items} has no whole groups of {GROUP} to remix; take a multiple of it")
        draws = torch.rand(4, items, stems, generator=generator, device=generator.device)
        groups = sources.unflatten(0, (-1, GROUP))  # [B / 4, 4, K, T]
        order = draws[0].unflatten(0, (-1, GROUP)).argsort(dim=1)  # [B / 4, 4, K]
        trading = draws[1, ::GROUP, :1, None] < self.remix  # [B / 4, 1, 1]
        order = torch.where(trading, order, torch.arange(GROUP, device=order.device)[:, None])
        remixed = groups.gather(1, order[..., None].expand_as(groups)).flatten(0, 1)
        low, high = self.scale
        factor = (low + (high - low) * draws[2]) * torch.where(draws[3] < 0.5, 1, -1)  # [B, K]
        return remixed * factor[:, :, None]

    def given(self, items: int, stems: int, generator: torch.Generator) -> Tensor:
        """Which sources are given, ``[B, K]``."""
        draws = torch.rand(items, 2 + stems, generator=generator, device=generator.device)
        count = 1 + (draws[:, 1] * (stems - 1)).long()  # 1 … K − 1
        count = torch.where(draws[:, 0] < self.alone, 0, count)
        ranks = draws[:, 2:].argsort(dim=1).argsort(dim=1)
        return ranks < count[:, None]


def missing_error(model: nn.Module, sources: Tensor, given: Tensor) -> Tensor:
    """The mean absolute error ``[B]`` over the ``sources`` ``[B, K, T]`` that are not ``given`` ``[B, K]``."""
    estimates = model(sources.sum(dim=1), sources, given)
    errors = (estimates - sources).abs().mean(dim=-1)  # [B, K]
    missing = (~given).to(errors)
    return (errors * missing).sum(dim=1) / missing.sum(dim=1)


@dataclass(frozen=True)
class Lesson:
    """How a training is judged: the error from fixed mixtures alone, and of each source when all others are given."""

    batches: tuple[Batch, ...]  # all of one size

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Row:
        """``loss`` and ``loss@all-but-STEM``."""
        row = {"loss": self._mean(model, [])}
        for k, stem in enumerate(STEMS):
            row[f"loss@all-but-{stem}"] = self._mean(model, [i for i in range(len(STEMS)) if i != k])
        return row

    def _mean(self, model: nn.Module, known: list[int]) -> float:
        errors = []
        for batch in self.batches:
            sources = batch.clean.to(next(model.parameters()).device)
            given = torch.zeros(sources.shape[:2], dtype=torch.bool, device=sources.device)
            given[:, known] = True
            errors.append(missing_error(model, sources, given).mean().item())
        return sum(errors) / len(errors)


def build(network: Mapping[str, Any]) -> ConditionalDemucs:
    """An untrained model of the package's own arguments; ``BadInputError`` for ones that make none."""
    sizes = {name: value for name, value in network.items() if name != "backbone"}
    if network.get("backbone") != "Demucs":
        raise BadInputError(f"unknown backbone {network.get('backbone')!r}; this model is a Demucs")
    try:
        return ConditionalDemucs(**sizes)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise BadInputError(f"Demucs: {one_line(error)}") from None


def load(path: Path | str) -> ConditionalDemucs:
    """The trained model at ``path``, frozen. Raises as ``gmsdi.model.load_denoiser`` does."""
    found = checkpoint.load(path, kind=KIND, rate=SAMPLE_RATE)
    if found.manifest.stems != STEMS:
        raise BadInputError(f"{path}: of {', '.join(found.manifest.stems)}, where {', '.join(STEMS)} is needed")
    try:
        model = build(found.manifest.config)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    checkpoint.load_into(model.network, found)
    return model.eval().requires_grad_(False)


class DemucsSeparator(Trained, Separator):
    """Plain Demucs: the trained model at ``checkpoint``, given nothing but the mixture. ``bf16`` as for ``DiffusionSeparator``."""

    def __init__(self, checkpoint: Path | str, bf16: bool = False) -> None:
        self.model = load(checkpoint)
        self.bf16 = bf16

    def separate(self, batch: Excerpts) -> Tensor:
        device = batch.mixtures.device
        with reduced(device, self.bf16):
            return self.estimate(self.model.to(device), batch)

    def estimate(self, model: ConditionalDemucs, batch: Excerpts) -> Tensor:
        """The stems ``[B, K, T]``."""
        return model.alone(batch.mixtures)
