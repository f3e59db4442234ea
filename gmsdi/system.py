"""What every separator here is: a map from a batch of mixtures to a batch of stems."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch


@dataclass(frozen=True)
class Batch:
    """What a separator may know of ``B`` excerpts.

    ``seeds`` are the items' own: an item's result must not depend on what else is in the batch. ``tracks`` and ``starts`` (samples)
    say where an item comes from; ``references`` is given only to separators that declare ``reads_references``.
    """

    mixtures: torch.Tensor  # [B, T] float32
    rate: int
    seeds: tuple[int, ...]
    tracks: tuple[str, ...]
    starts: tuple[int, ...]
    references: torch.Tensor | None = None  # [B, K, T]


class Separator(ABC):
    """A system that the separation table can have a row for: one class and one yaml."""

    reads_references: ClassVar[bool] = False
    """An oracle: it is handed the true stems, and its row is a bound, not a result."""

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """What the constructor's arguments mean by content: a path to weights or files becomes the sha256 of what is there.

        The identity of everything that the system outputs is made from this, without building the system.
        """
        return arguments

    @abstractmethod
    def separate(self, batch: Batch) -> torch.Tensor:
        """The stems ``[B, K, T]`` of the mixtures, float32, in the order of ``gmsdi.STEMS``."""
