"""What a model is trained to do, and how it is judged on the way: denoising, with prompts or without."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError
from gmsdi.schedule import LogNormal

Row = dict[str, float]
"""A row of a training's curve, of one interval: values by the names of their columns."""


@dataclass(frozen=True)
class Batch:
    """What one step learns from. ``null`` is the embedding of the null prompt, for a network that has not learned one of its own."""

    clean: Tensor  # [B, C, T]
    embedding: Tensor | None = None  # [B, L, F], of what is in it
    null: Tensor | None = None  # [L, F]; due where there are prompts


class Objective(ABC):
    """What is to be learned: one class, a frozen dataclass of its settings, and a node of a model's config."""

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch, mine: slice, generator: torch.Generator) -> Tensor:
        """The loss ``[b]`` of the items ``mine`` of a batch, those that this process computes.

        Random numbers come from ``generator``, on the model's device, and are drawn for the whole batch, so an item meets the same
        ones however the batch is shared among processes.
        """


@dataclass(frozen=True)
class Denoising(Objective):
    """Denoise, at levels drawn from ``sigmas``; a prompt is replaced by the null prompt with probability ``drop``."""

    sigmas: LogNormal = field(default_factory=lambda: LogNormal(mean=math.log(0.3), std=1.5))
    drop: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise BadInputError(f"Denoising: drop is a share of the prompts, not {self.drop}")

    def losses(self, model: nn.Module, batch: Batch, mine: slice, generator: torch.Generator) -> Tensor:
        assert isinstance(model, Denoiser)
        items, device = len(batch.clean), generator.device
        sigma = self.sigmas.sample(items, generator)
        noise = torch.randn(batch.clean.shape, generator=generator, device=device)
        dropped = torch.rand(items, generator=generator, device=device) < self.drop  # [B]
        condition = {}
        if batch.embedding is not None:
            null = _null(model, batch)[: batch.embedding.shape[1]].to(device)
            condition["embedding"] = torch.where(dropped[:, None, None], null, batch.embedding.to(device))[mine]
        return model.loss(batch.clean[mine].to(device), sigma[mine], noise[mine], **condition)


def _null(model: Denoiser, batch: Batch) -> Tensor:
    """The embedding of the null prompt: the network's own, if it has learned one."""
    null = batch.null if model.null is None else model.null
    if null is None:
        raise BadInputError("train: batches have prompts, so the embedding of the null prompt is due; give null")
    return null


@dataclass(frozen=True)
class Validation:
    """The loss of a denoiser on fixed signals under fixed noise, at every one of ``sigmas`` and on average over them.

    ``others`` are embeddings that are not the signals' own, by name (null, wrong). For each it is measured how much larger the loss is
    than with the right embedding: a network nearly ignores its prompts at first, which the loss alone does not show. The null prompt
    that a network has learned takes the place of ``others["null"]``.
    """

    batch: Batch
    sigmas: tuple[float, ...]
    others: Mapping[str, Tensor] = field(default_factory=dict)  # [B, L, F] each
    seed: int = 0

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> Row:
        """``loss``, ``loss@SIGMA`` and ``NAME-right@SIGMA`` of a denoiser."""
        right = self._losses(denoiser, self.batch.embedding)
        row = {"loss": sum(right) / len(right)} | self._columns("loss", right)
        for name, embedding in {**self.others, **self._learned(denoiser)}.items():
            gaps = [found - own for found, own in zip(self._losses(denoiser, embedding), right, strict=True)]
            row |= self._columns(f"{name}-right", gaps)
        return row

    def _learned(self, denoiser: Denoiser) -> dict[str, Tensor]:
        if denoiser.null is None or self.batch.embedding is None:
            return {}
        items, tokens, _ = self.batch.embedding.shape
        return {"null": denoiser.null[:tokens].expand(items, -1, -1)}

    def _losses(self, denoiser: Denoiser, embedding: Tensor | None) -> list[float]:
        device = next(denoiser.parameters()).device
        clean = self.batch.clean.to(device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed)).to(clean)
        condition = {} if embedding is None else {"embedding": embedding.to(device)}
        return [
            denoiser.loss(clean, clean.new_full((len(clean),), sigma), noise, **condition).mean().item()
            for sigma in self.sigmas
        ]

    def _columns(self, name: str, values: list[float]) -> Row:
        return {f"{name}@{sigma:g}": value for sigma, value in zip(self.sigmas, values, strict=True)}
