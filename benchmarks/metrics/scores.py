"""What every metric of separation returns, and how windows become a table's cell."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Signals = Sequence[npt.NDArray[np.float32]] | npt.NDArray[np.float32]
"""``K`` signals ``[T]``, such as the rows of ``[K, T]`` or files mapped into memory."""

Pooling = Literal["window-mean", "track-median"]
"""How windows become a cell: the mean over all windows of all tracks, or the median over tracks of each track's median."""


@dataclass(frozen=True)
class WindowScores:
    """One metric of ``K`` stems in ``W`` windows. A value is finite, or undefined with a reason."""

    values: Values  # [K, W] dB; NaN where undefined
    reasons: np.ndarray  # [K, W] str: why the value is undefined, "" where it is defined

    def __post_init__(self) -> None:
        if not np.array_equal(np.isfinite(self.values), self.reasons == ""):
            raise ValueError("a window score must be finite, or undefined with a reason")


class Metric(ABC):
    """A metric of estimated stems against true ones, computed on whole tracks."""

    pooling: ClassVar[Pooling]

    @property
    def title(self) -> str:
        """What it measures, and in what unit, for the title of a table."""
        return type(self).__name__

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that the scores depend on, in one line."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose code decides the scores."""
        return (type(self).__module__,)

    @property
    @abstractmethod
    def columns(self) -> dict[str, str]:
        """The metric's columns (each a protocol or a quantity), with the full signature of a cell in each."""

    @abstractmethod
    def __call__(self, estimates: Signals, references: Signals, rate: int) -> dict[str, WindowScores]:
        """Scores by column of ``K`` estimates against ``K`` references, all ``[T]``, at ``rate`` Hz."""
