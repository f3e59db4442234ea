"""Whether generated stems fit the given ones in rhythm and in harmony, which a distance of embeddings does not hear.

Every metric compares the sum of the given stems with the sum of the generated ones of the same excerpt. More agreement is not always
better: a value is read against that of stems of two songs, the floor, and that of real stems of one song, the goal, which
``benchmarks.figures.coherence_study`` measures. The loudness of either side does not matter.

Sources: onset strength as spectral flux of compressed magnitudes, Müller, "Fundamentals of Music Processing" (2015), section 6.1.1;
agreement of onsets, MIREX's F-measure as mir_eval has it (Raffel et al., ISMIR 2014); chroma, Müller, section 3.1.2.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import mir_eval
import numpy as np
import numpy.typing as npt
from scipy.fft import rfft
from scipy.signal import find_peaks, get_window

from gmsdi import SAMPLE_RATE, audio

Floats = npt.NDArray[np.float64]
Stems = Mapping[str, npt.NDArray[np.float32]]
"""Stems ``[T]`` by name; a side of a comparison."""

UNPITCHED = frozenset({"drums"})
"""Stems in which no harmony is looked for."""

SILENT_DB = -60.0
"""dBFS of RMS below which a side is silent."""


class UndefinedError(Exception):
    """Why there is nothing to measure."""


@dataclass(frozen=True)
class Agreement:
    """A finite value, or an undefined one with the reason."""

    value: float  # NaN where undefined
    reason: str = ""  # why the value is undefined, "" where it is defined

    def __post_init__(self) -> None:
        if np.isfinite(self.value) != (self.reason == ""):
            raise ValueError("an agreement must be finite, or undefined with a reason")


class Coherence(ABC):
    """A metric of generated stems against given ones of the same excerpt."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that the values depend on, in one line."""

    def __call__(self, given: Stems, generated: Stems, rate: int) -> Agreement:
        """How well ``generated`` goes with ``given``, all ``[T]`` at ``rate`` Hz; symmetric.

        ``BadInputError`` for NaN or infinite samples, ``ValueError`` for stems of different lengths.
        """
        lengths = {name: len(samples) for side in (given, generated) for name, samples in side.items()}
        if len({len(samples) for side in (given, generated) for samples in side.values()}) > 1:
            raise ValueError(f"stems of {lengths} samples differ in length")
        try:
            return Agreement(
                self.agreement(self._heard(given, rate, "given"), self._heard(generated, rate, "generated"))
            )
        except UndefinedError as error:
            return Agreement(float("nan"), str(error))

    @abstractmethod
    def agreement(self, one: Floats, other: Floats) -> float:
        """The agreement of two sums ``[T]`` at ``SAMPLE_RATE``, neither of them silent. ``UndefinedError`` where there is none."""

    def listens_to(self, stem: str) -> bool:
        """Whether the stem counts."""
        return True

    def _heard(self, side: Stems, rate: int, which: str) -> Floats:
        """The sum of the stems that count, ``[T]`` at ``SAMPLE_RATE``."""
        names = sorted(name for name in side if self.listens_to(name))
        if not names:
            raise UndefinedError(f"no pitched stem is {which}" if side else f"no stem is {which}")
        samples = audio.mixture(np.stack([side[name] for name in names]))[None]
        audio.require_finite(samples, rate, f"{which} {', '.join(names)}")
        heard: Floats = audio.resample(samples, rate, SAMPLE_RATE)[0].astype(np.float64)
        if np.sqrt((heard**2).sum() / max(len(heard), 1)) < 10 ** (SILENT_DB / 20):
            raise UndefinedError(f"what is {which} is silent")
        return heard


@dataclass(frozen=True)
class Overlap(Coherence):
    """The cosine of both sides' waveforms: about 0 for different music, however well it fits, 1 for the same, −1 in opposite phase.

    A system that copies the given stems, or cancels part of them, agrees with their rhythm and harmony better than music does; this
    metric exposes it.
    """

    @property
    def signature(self) -> str:
        return f"overlap|waveform-cosine|signed|rate:{SAMPLE_RATE}|silence:{SILENT_DB:g}dB|v:2"

    def agreement(self, one: Floats, other: Floats) -> float:
        return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@dataclass(frozen=True)
class Flux:
    """Onset strength: the rise of the logarithm of magnitudes from frame to frame, averaged over frequency.

    ``compression`` is the ratio of full scale to the floor: 1000 leaves out what lies more than 60 dB below the loudest
    bin, such as the noise that a sampler leaves.
    """

    window: int = 1024  # samples at SAMPLE_RATE
    hop: int = 256
    compression: float = 1000.0

    @property
    def signature(self) -> str:
        return f"flux:{self.window}/{self.hop}|log:{self.compression:g}|rate:{SAMPLE_RATE}|silence:{SILENT_DB:g}dB"

    @property
    def seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / SAMPLE_RATE

    def __call__(self, samples: Floats) -> Floats:
        """``[T]`` to ``[frames - 1]``, at least 3."""
        levels = np.log1p(self.compression * _normal(_magnitudes(samples, self.window, self.hop, frames=4)))
        rises: Floats = np.maximum(np.diff(levels, axis=1), 0.0).mean(axis=0)
        return rises


@dataclass(frozen=True)
class Rhythm(Coherence):
    """The correlation of both sides' onset strength at lag 0: 1 for the same rhythm, about 0 for unrelated ones."""

    flux: Flux = Flux()

    @property
    def signature(self) -> str:
        return f"rhythm|{self.flux.signature}|correlation|v:1"

    def agreement(self, one: Floats, other: Floats) -> float:
        strengths = np.stack([self.flux(one), self.flux(other)])  # [2, frames]
        if strengths.std(axis=1).min() < 1e-9:
            raise UndefinedError("a side has no onsets")
        return float(np.corrcoef(strengths)[0, 1])


@dataclass(frozen=True)
class Onsets(Coherence):
    """The F-measure of both sides' onsets (mir_eval); an onset matches one of the other side within ``tolerance``.

    An onset is a peak of onset strength that stands out by ``prominence`` standard deviations.
    """

    flux: Flux = Flux()
    prominence: float = 1.0
    tolerance: float = 0.025  # seconds

    @property
    def signature(self) -> str:
        return f"onsets|{self.flux.signature}|prominence:{self.prominence:g}sd|tolerance:{self.tolerance:g}s|F|v:1"

    def agreement(self, one: Floats, other: Floats) -> float:
        value, _, _ = mir_eval.onset.f_measure(self.onsets(one), self.onsets(other), window=self.tolerance)
        return float(value)

    def onsets(self, samples: Floats) -> Floats:
        """The times of the onsets in seconds, at least one."""
        strength = self.flux(samples)
        peaks, _ = find_peaks(strength, prominence=max(self.prominence * strength.std(), 1e-9))
        if len(peaks) == 0:
            raise UndefinedError("a side has no onsets")
        times: Floats = peaks * self.flux.seconds
        return times


@dataclass(frozen=True)
class Harmony(Coherence):
    """The correlation of both sides' chroma, averaged over the segments of half a second in which both sound.

    1 for the same pitch classes, −1/3 for triads without a common tone. Tuning is A = 440 Hz. Drums do not count.
    """

    window: int = 8192  # samples at SAMPLE_RATE: 2.7 Hz a bin
    hop: int = 2048
    frames: int = 5  # of a segment, 0.46 s
    low: float = 55.0  # Hz
    high: float = 2000.0  # Hz
    width: float = 0.35  # standard deviation of a pitch class, in semitones
    rest: float = 1e-3  # of the loudest segment: below it a segment is a rest

    @property
    def signature(self) -> str:
        return (
            f"harmony|chroma:{self.window}/{self.hop}|{self.low:g}-{self.high:g}Hz|width:{self.width:g}|frames:{self.frames}|"
            f"rest:{self.rest:g}|rate:{SAMPLE_RATE}|silence:{SILENT_DB:g}dB|correlation|v:1"
        )

    def listens_to(self, stem: str) -> bool:
        return stem not in UNPITCHED

    def agreement(self, one: Floats, other: Floats) -> float:
        sides = np.stack([self.chroma(one), self.chroma(other)])  # [2, 12, segments]
        levels = sides.sum(axis=1)  # [2, segments]
        centred = sides - sides.mean(axis=1, keepdims=True)
        norms = np.sqrt((centred**2).sum(axis=1))  # [2, segments]
        loudest = levels.max(axis=1, keepdims=True)
        sounding = ((levels > self.rest * loudest) & (norms > 1e-9 * loudest)).all(axis=0)  # [segments]
        if not sounding.any():
            raise UndefinedError("the two sides never have pitches at one time")
        products = centred.prod(axis=0).sum(axis=0)[sounding]
        return float((products / norms.prod(axis=0)[sounding]).mean())

    def chroma(self, samples: Floats) -> Floats:
        """Magnitude by pitch class (C first) in each whole segment, ``[12, segments]``, at least one."""
        classes = self._folding @ _magnitudes(samples, self.window, self.hop, self.frames)  # [12, frames]
        count = classes.shape[1] // self.frames
        segments: Floats = classes[:, : count * self.frames].reshape(12, count, self.frames).mean(axis=2)
        return segments

    @cached_property
    def _folding(self) -> Floats:
        """How much of each frequency counts for each pitch class, ``[12, window / 2 + 1]``."""
        frequencies = np.arange(self.window // 2 + 1) * SAMPLE_RATE / self.window
        pitch = 69 + 12 * np.log2(np.maximum(frequencies, 1.0) / 440)  # MIDI's numbers: C is 0 modulo 12
        distance = (pitch - np.arange(12)[:, None] + 6) % 12 - 6  # semitones
        inside = (frequencies >= self.low) & (frequencies <= self.high)
        weights: Floats = inside * np.exp(-((distance / self.width) ** 2) / 2)
        return weights


def _magnitudes(samples: Floats, window: int, hop: int, frames: int) -> Floats:
    """Magnitudes of the short-time Fourier transform with a Hann window, ``[window / 2 + 1, frames]``, without padding."""
    if len(samples) < window + (frames - 1) * hop:
        seconds = (window + (frames - 1) * hop) / SAMPLE_RATE
        raise UndefinedError(f"shorter than {seconds:.2f} s")
    pieces = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]  # [frames, window]
    magnitudes: Floats = np.abs(rfft(pieces * get_window("hann", window), axis=1)).T
    return magnitudes


def _normal(magnitudes: Floats) -> Floats:
    """Magnitudes relative to the largest, so that loudness does not matter."""
    normal: Floats = magnitudes / magnitudes.max()
    return normal
