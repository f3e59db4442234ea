"""BSSEval v4: SDR, SIR, SAR and ISR in dB per window, computed by the `museval` library.

Source: Stöter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.  One distortion filter
per pair of stems is fitted on the whole track; the energies are compared window by window.

**Silence.**  museval drops a window for *every* stem as soon as one reference or one estimate is silent (all samples
exactly zero) in it, and refuses a track in which a whole stem is silent.  Here only the silent stem is undefined:

* wherever museval defines a number, the value is that number;
* in a window that museval drops, silent stems are undefined.  A stem whose reference and estimate both sound has the
  value of museval's formulas there: the limit of its numbers as the other stems fade out;
* a reference that is silent over the whole track leaves the projection space: the other stems are scored with the
  remaining references.  With a single reference left nothing interferes, the SIR is infinite and hence undefined.

**Dither.**  References without a noise floor (float32, resampled, rendered) leave the top of the band empty.  The fitted
filters have enormous gains there, and blow up the edges of the windows that museval applies them to: SIR and SAR come out
near or far below 0 dB for estimates whose SDR is 10 dB.  White noise at -80 dBFS under the references brings them back to
their closed forms (a test shows it) and leaves the SDR as it is up to some 40 dB.  With `dither=0` the numbers are museval's
own, bit for bit.

**Solos.**  A window in which fewer than two references sound has nothing to separate.  It is undefined for all stems; SI-SDR
does not count it either.

Published medians are taken over museval's windows only.  They are recovered by leaving out the windows in which any
stem's reason is `SILENT_REFERENCE` or `SILENT_ESTIMATE`.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar

import numpy as np

from benchmarks.metrics.scores import Metric, Pooling, Signals, WindowScores
from gmsdi import audio
from gmsdi.errors import BadInputError

SILENT_REFERENCE = "silent reference"
SILENT_ESTIMATE = "silent estimate"
NOT_FINITE = "not finite"
SOLO = "fewer than two references sound"
QUANTITIES = ("SDR", "ISR", "SIR", "SAR")

# One sample of this size makes a silent window pass museval's test for exact zeros and changes no number: added to
# anything that float32 audio can hold it is lost in rounding, and its own energy underflows to exactly zero.
_INAUDIBLE = 1e-200


@dataclass(frozen=True)
class BSSEval(Metric):
    """BSSEval v4 of mono stems; a last window that the track does not fill is left out, as in museval.

    A track shorter than one window is one window.
    """

    pooling: ClassVar[Pooling] = "track-median"

    window: float = 1.0  # seconds
    hop: float = 1.0  # seconds
    filters: int = 512  # taps of the distortion filter that does not count as error
    dither: float = 1e-4  # RMS of the white noise under the references

    def __post_init__(self) -> None:
        if min(self.window, self.hop, self.filters) <= 0:
            raise BadInputError(f"BSSEval: window, hop and filters must be positive, got {self}")

    @property
    def title(self) -> str:
        return "BSSEval v4 in dB"

    @property
    def signature(self) -> str:
        """Everything that the numbers depend on, in one line; two numbers compare only under equal signatures."""
        return (
            f"bsseval|v4|win:{self.window:.15g}s|hop:{self.hop:.15g}s|filters:{self.filters}|dither:{self.dither:.15g}|silence:per-stem|sounding:2"
            f"|agg:median|museval:{version('museval')}|v:1"
        )

    @property
    def columns(self) -> dict[str, str]:
        return {name: f"{self.signature}|{name}" for name in QUANTITIES}

    def __call__(self, estimates: Signals, references: Signals, rate: int) -> dict[str, WindowScores]:
        """Scores under "SDR", "SIR", "SAR" and "ISR" of K estimates against K references, all [T], at `rate` Hz.

        A value is undefined with the reason `SILENT_REFERENCE`, `SILENT_ESTIMATE` (the module says when), or
        `NOT_FINITE` where museval itself returns an infinity or NaN.

        Raises
        ------
        BadInputError
            ffmpeg or ffprobe is not installed; importing museval needs both.
        ValueError
            The two shapes differ.
        """
        bss_eval, framing = _museval()
        estimated, true = np.stack(list(estimates)), np.stack(list(references))
        if estimated.shape != true.shape:
            raise ValueError(f"estimates {estimated.shape} and references {true.shape} differ")
        window, hop = round(self.window * rate), round(self.hop * rate)
        windows = list(framing(window, hop, true.shape[1]))
        reference, no_reference = _sounding(true, windows)
        estimate, no_estimate = _sounding(estimated, windows)

        kept = true.any(axis=1)
        values = np.full((4, len(true), len(windows)), np.nan)
        if kept.any():
            with np.errstate(divide="ignore", invalid="ignore"):  # log10(0) in the windows reported as silent
                *found, _ = bss_eval(
                    self._dithered(reference[kept]), estimate[kept], window, hop, filters_len=self.filters
                )
            values[:, kept] = found
        return {name: _explained(row, no_reference, no_estimate) for name, row in zip(QUANTITIES, values, strict=True)}

    def _dithered(self, references: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).standard_normal(references.shape)
        return references + self.dither * noise


def _museval() -> tuple:
    """museval's `bss_eval` and `Framing`, imported late because importing museval fails without ffmpeg."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        raise BadInputError("BSSEval needs museval, which needs ffmpeg and ffprobe: run `apt-get install ffmpeg`")
    from museval.metrics import Framing, bss_eval

    return bss_eval, Framing


def _sounding(stems: audio.Samples, windows: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
    """A float64 copy of the [K, T] stems with an inaudible sample in each silent window, and the [K, W] mask of silent windows."""
    sounding = stems.astype(np.float64)
    silent = np.stack([~sounding[:, window].any(axis=1) for window in windows], axis=1)
    for window, stem_is_silent in zip(windows, silent.T, strict=True):
        sounding[stem_is_silent, window.start] = _INAUDIBLE
    return sounding, silent


def _explained(values: np.ndarray, no_reference: np.ndarray, no_estimate: np.ndarray) -> WindowScores:
    """The [K, W] values, NaN wherever there is a reason not to report them."""
    solo = np.broadcast_to((~no_reference).sum(axis=0) < 2, values.shape)
    causes = {
        SILENT_REFERENCE: no_reference,
        SILENT_ESTIMATE: no_estimate,
        SOLO: solo,
        NOT_FINITE: ~np.isfinite(values),
    }
    reasons = np.select(list(causes.values()), list(causes), default="")
    return WindowScores(np.where(reasons == "", values, np.nan), reasons)
