"""From audio to embeddings, for metrics of distributions. An embedder's signature says everything that its embeddings depend on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torchaudio
from torch import Tensor

from gmsdi import audio
from gmsdi.errors import BadInputError


class Embedder(ABC):
    """Maps mono audio to a sequence of embeddings, one audio at a time, so that nothing depends on a batch."""

    features: int
    """``d``, the length of an embedding."""

    source: str = ""
    """Where a person gets its files."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it needs on this machine; nothing is downloaded."""
        return ()

    @property
    @abstractmethod
    def shortest(self) -> float:
        """Seconds of audio that it needs at least."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that the embeddings depend on, in one line."""

    @abstractmethod
    def embed(self, samples: audio.Samples, rate: int) -> Tensor:
        """The embeddings ``[n, d]`` of ``samples`` ``[T]`` at ``rate`` Hz, float64. ``BadInputError`` for audio that is too short."""


@dataclass(frozen=True)
class LogMel(Embedder):
    """Means and standard deviations over 0.96 s of log-mel bands, every 0.48 s: the offline default, without weights or downloads.

    The bands are VGGish's (64 from 125 to 7500 Hz, 25 ms windows every 10 ms at 16 kHz, natural logarithm of magnitude + 0.01). It
    hears loudness, timbre and how much both vary within a second; it is deaf to pitch within a band, to rhythm beyond a second, to
    harmony, and to whether stems fit each other. Its distances compare with nobody's FAD.
    """

    features = 128

    rate: int = 16_000  # Hz
    window: int = 400  # samples
    hop: int = 160  # samples
    bands: int = 64
    low: float = 125.0  # Hz
    high: float = 7500.0  # Hz
    frames: int = 96  # of an embedding
    step: int = 48  # frames from one to the next: they overlap by half, so that short excerpts give more
    offset: float = 0.01

    @property
    def shortest(self) -> float:
        return (self.hop * (self.frames - 1) + self._transform) / self.rate

    @property
    def signature(self) -> str:
        return (
            f"logmel|rate:{self.rate}|win:{self.window}|hop:{self.hop}|mel:{self.bands}x{self.low:g}-{self.high:g}Hz|"
            f"frames:{self.frames}/{self.step}|log:+{self.offset:g}|mean+std|v:1"
        )

    def embed(self, samples: audio.Samples, rate: int) -> Tensor:
        heard = torch.from_numpy(audio.resample(samples[None], rate, self.rate)[0]).double()
        spectrum = (
            torch.stft(heard, self._transform, self.hop, self.window, self._hann, center=False, return_complex=True)
            if len(heard) >= self._transform
            else heard.new_zeros(self._transform // 2 + 1, 0)
        )
        if spectrum.shape[1] < self.frames:
            raise BadInputError(
                f"audio of {len(samples) / rate:.2f} s is too short for logmel, which needs {self.shortest:.2f} s"
            )
        levels = (self._filters.T @ spectrum.abs() + self.offset).log()  # [bands, all frames]
        pieces = levels.unfold(1, self.frames, self.step)  # [bands, n, frames]
        return torch.cat([pieces.mean(dim=2), pieces.std(dim=2, correction=0)]).T.contiguous()  # [n, 2 · bands]

    @property
    def _transform(self) -> int:
        """The length of the Fourier transform: the next power of two."""
        return 1 << (self.window - 1).bit_length()

    @cached_property
    def _hann(self) -> Tensor:
        return torch.hann_window(self.window, dtype=torch.float64)

    @cached_property
    def _filters(self) -> Tensor:
        """Triangles in the spectrum, ``[transform / 2 + 1, bands]``."""
        filters: Tensor = torchaudio.functional.melscale_fbanks(
            self._transform // 2 + 1, self.low, self.high, self.bands, self.rate
        )
        return filters.double()
